"""The head of a request: what it says, and that no other parser could read something else in it.

Only what RFC 9112 calls a sender's own grammar is taken, and none of what it lets a recipient
forgive: one space between the words of the first line, CRLF after every line, no folded line, no
space before a colon, no control character. Bodies are `_framing.py`'s business.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from plugway._framing import WireError, WireLimits

CHUNKED: Final = -1
"""The `length` of a body whose end is told by its last chunk."""

NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header line (RFC 9110, 5.6.2)."""
_LINE = re.compile(rb"\r\n(" + NAME.pattern + rb"):[ \t]*+([\t -~\x80-\xff]*)(?=\r\n)")
_FIRST = re.compile(rb"([A-Z]+) (/[!\"$-~]*) HTTP/1\.([01])(?=\r\n)")
_METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
}
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding")


class Head(NamedTuple):
    """The head of one request."""

    method: str
    path: bytes
    """Without the query, as it was sent."""
    query: bytes
    version: str
    """`1.1` or `1.0`."""
    lines: list[tuple[bytes, bytes]]
    """Header lines, names in lower case."""
    length: int
    """Bytes of the body; `CHUNKED` where the body says it itself."""
    keep_alive: bool
    """The connection may serve another request."""
    expects: bool
    """The client waits to be told that its body is wanted."""


def parse_head(data: bytes, limits: WireLimits) -> Head:
    """What the head says that `data` is, up to and with its empty line. Raises `WireError`."""
    first = _FIRST.match(data)
    if first is None:
        raise _wrong_first_line(data[: data.find(b"\r\n")], limits)
    word, target, minor = first.groups()
    method = _METHODS.get(word)
    if method is None or len(target) > limits.target_bytes:
        raise _wrong_first_line(first[0], limits)
    count = data.count(b"\n") - 2
    if count > limits.head_lines:
        raise WireError(431, f"more than {limits.head_lines} headers")
    found = _LINE.findall(data, first.end())
    if len(found) != count:
        raise WireError(400, "not a request head: a header line is malformed")
    if b" \r\n" in data or b"\t\r\n" in data:
        found = [(name, value.rstrip(b" \t")) for name, value in found]
    lines = [(name.lower(), value) for name, value in found]
    path, _, query = target.partition(b"?")
    version = "1.1" if minor == b"1" else "1.0"
    return Head(method, path, query, version, lines, *_framing(lines, version))


def _framing(lines: list[tuple[bytes, bytes]], version: str) -> tuple[int, bool, bool]:
    """Length of the body, whether the connection is kept, whether the client waits."""
    named = dict(lines)
    if len(named) < len(lines):
        _check_once([name for name, _ in lines])
    if b"host" not in named:
        raise WireError(400, "exactly one `Host` header is needed")
    length = _length(named.get(b"content-length"), named.get(b"transfer-encoding"), version)
    keep_alive = version == "1.1"
    if b"connection" in named:
        said = b",".join(value for name, value in lines if name == b"connection").lower()
        keep_alive = keep_alive and b"close" not in said.replace(b" ", b"").split(b",")
    return length, keep_alive, named.get(b"expect", b"").lower() == b"100-continue"


def _check_once(names: list[bytes]) -> None:
    for name in _ONCE:
        if names.count(name) > 1:
            raise WireError(400, f"more than one `{name.decode().title()}` header")


def _length(length: bytes | None, coding: bytes | None, version: str) -> int:
    if coding is not None:
        if length is not None:
            raise WireError(400, "the length of the body is stated more than once")
        if coding.lower() != b"chunked" or version != "1.1":
            raise WireError(400, "the only `Transfer-Encoding` is `chunked`, in HTTP/1.1")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 18:
        raise WireError(400, "`Content-Length` must be one decimal number")
    return int(length)


def check_start(held: bytes, limits: WireLimits) -> None:
    """Refuse early what can never become a request, such as a TLS hello or HTTP/0.9.

    Raises `WireError`.
    """
    if not held[:1].isalpha():
        raise WireError(400, "not HTTP")
    line, newline, _ = held.partition(b"\n")
    if held.count(b"\n") != held.count(b"\r\n"):
        raise WireError(400, "a line of the head does not end with CRLF")
    if len(line) > limits.target_bytes + 64 or (newline and not _FIRST.match(held)):
        raise _wrong_first_line(line.rstrip(b"\r"), limits)


def _wrong_first_line(line: bytes, limits: WireLimits) -> WireError:
    """Why `line` is no request line that is served here."""
    parts = line.split(b" ")
    if max(map(len, parts)) > limits.target_bytes:
        return WireError(414, f"URL is longer than {limits.target_bytes} bytes")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return WireError(400, "not an HTTP/1.1 request line")
    if parts[0] == b"CONNECT":
        return WireError(405, "this is no forward proxy")
    if not parts[0].isalpha():
        return WireError(400, "not an HTTP/1.1 request line")
    if parts[0] not in _METHODS:
        return WireError(405, "unknown method")
    return WireError(400, "the target must be a path of visible ASCII characters")
