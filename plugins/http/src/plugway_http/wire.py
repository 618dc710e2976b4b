"""HTTP/1.1: limits, errors, and writing a head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]
"""Headers in order; names in lower case."""

RenderError = Callable[[int, str], tuple[Headers, bytes]]
"""Returns headers and body of the response with a status, for a reason."""


def plain_error(status: int, reason: str) -> tuple[Headers, bytes]:
    """The reason as plain text."""
    return (("content-type", "text/plain; charset=utf-8"),), reason.encode()


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Limits on size and time of a client connection."""

    head_bytes: int = 64 * 1024
    head_lines: int = 100
    target_bytes: int = 8 * 1024
    head_seconds: float = 10.0
    """Time from accept, or from the first byte of a later request, to the end of the head."""
    linger_seconds: float = 5.0
    """Time to wait for more input after an early response, so that the client can read it."""
    last_head_seconds: float = 0.5
    """How long a server that stops waits for the first request of a new connection."""
    stall_seconds: float = 120.0
    """Time that a client may take without reading what was sent."""


class WireError(Exception):
    """The received bytes are not a request that can be served; the response has `status`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def joined(first: str, lines: Headers) -> bytes:
    """The head made of the line `first` and the headers `lines`, with the empty line at its end.

    Raises `ValueError` if a header contains a character that is not allowed.
    """
    try:
        head = "\r\n".join([first, *map(": ".join, lines), "\r\n"]).encode("latin-1")
    except UnicodeEncodeError:
        head = b"\0"
    breaks = len(lines) + 2
    if head.count(b"\n") > breaks or head.count(b"\r") > breaks or b"\0" in head:
        raise ValueError("a header contains characters that are not allowed")
    return head
