"""Heads of requests and responses on their way through a guarding proxy."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import h11

_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
"""Header fields of one connection (RFC 9110, section 7.6.1), and those for a proxy."""

Lines = list[tuple[bytes, bytes]]


class Refused(Exception):
    """What the client gets in place of a response."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for."""

    host: str
    port: int
    netloc: bytes
    """Host and port as the client wrote them."""
    path: bytes


def target_of(request: h11.Request) -> Target:
    """What a request is for. Raises `Refused` if it does not address a proxy, or is malformed."""
    written = request.target.decode("ascii", "replace")
    is_tunnel = request.method == b"CONNECT"
    try:
        parts = urlsplit(f"//{written}" if is_tunnel else written)
        port = parts.port
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"Invalid target {written!r}: {error}") from None
    valid = port is not None and written == parts.netloc if is_tunnel else parts.scheme == "http"
    if not valid or not parts.hostname or port == 0 or "@" in parts.netloc:
        reason = "This is a proxy for a browser: it takes `CONNECT host:port` and http:// URLs"
        raise Refused(HTTPStatus.BAD_REQUEST, reason)
    path = written[len(f"{parts.scheme}://{parts.netloc}") :].partition("#")[0]
    if not path.startswith("/"):
        path = f"/{path}"
    return Target(
        parts.hostname, 80 if port is None else port, parts.netloc.encode(), path.encode()
    )


def _end_to_end(headers: Lines, *more: bytes) -> Lines:
    """Header fields without those of one connection, and without `more`."""
    own = {
        name.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for name in value.split(b",")
    }
    dropped = _HOP | (own - {b"content-length"}) | set(more)
    return [(key, value) for key, value in headers if key.lower() not in dropped]


def _is_websocket(headers: Lines) -> bool:
    return any(
        key.lower() == b"upgrade" and value.lower() == b"websocket" for key, value in headers
    )


def request_to(request: h11.Request, target: Target) -> h11.Request:
    """The request as the server gets it: its own connection, closed after the response."""
    given = request.headers.raw_items()
    is_chunked = any(key.lower() == b"transfer-encoding" for key, _ in given)
    kept = _end_to_end(given, b"host", *((b"content-length",) if is_chunked else ()))
    lines = [(b"Host", target.netloc), *kept]
    if is_chunked:
        lines.append((b"Transfer-Encoding", b"chunked"))
    if _is_websocket(given):
        lines += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    else:
        lines.append((b"Connection", b"close"))
    return h11.Request(method=request.method, target=target.path, headers=lines)


def relayed(
    event: h11.InformationalResponse | h11.Response,
) -> h11.InformationalResponse | h11.Response:
    """The head of a response as the client gets it."""
    given = event.headers.raw_items()
    lines = _end_to_end(given)
    if event.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        lines += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return type(event)(status_code=event.status_code, headers=lines, reason=event.reason)


def response_of(status: HTTPStatus, lines: Lines) -> h11.Response:
    return h11.Response(status_code=status, headers=lines, reason=status.phrase)
