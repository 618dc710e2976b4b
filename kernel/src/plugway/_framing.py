"""Which bytes are an HTTP/1.1 request: limits of the head, where the body ends; and which a head.

httptools sets no limit to a head, and takes several `Host` lines, absolute targets and chunks of
any size. It does refuse folded headers, CR, LF and NUL inside a line, and a space before the
colon (`test_protocol.py` holds it to that), so nothing here looks for them. No loop runs per byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Chunked", "Sized", "WireError", "WireLimits", "check_start", "inspect", "joined"]

Emit = Callable[[bytes], None]

_HEX = b"0123456789abcdefABCDEF"
_LONGEST_CHUNK_LINE = 256
_MOST_TRAILER_BYTES = 8192


@dataclass(frozen=True, slots=True)
class WireLimits:
    """How much a connection may send before it is understood, and how long it may take."""

    head_bytes: int = 64 * 1024
    head_lines: int = 100
    target_bytes: int = 8 * 1024
    head_seconds: float = 10.0
    """From accept, or from the first byte of a later request, to the end of the head."""
    linger_seconds: float = 1.0
    """How long input is thrown away after an early answer, so that the client can read it."""
    stall_seconds: float = 120.0
    """How long a client may leave what was sent to it unread."""


class WireError(Exception):
    """What arrived is not a request that can be served; the connection ends with `status`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_start(held: bytes, limits: WireLimits) -> None:
    """Refuse early what can never become a request, such as a TLS hello or HTTP/0.9."""
    if not held[:1].isalpha():
        raise WireError(400, "not HTTP")
    line, newline, _ = held.partition(b"\n")
    if held.count(b"\n") != held.count(b"\r\n"):
        raise WireError(400, "a line of the head does not end with CRLF")
    if newline:
        _check_request_line(line[:-1], limits)
    elif len(line) > limits.target_bytes + 64:
        raise WireError(414, f"URL is longer than {limits.target_bytes} bytes")


def _check_request_line(line: bytes, limits: WireLimits) -> bytes:
    """The version; the method is left to the parser and the guard."""
    parts = line.split(b" ")
    if len(parts) > 1 and len(parts[1]) > limits.target_bytes:
        raise WireError(414, f"URL is longer than {limits.target_bytes} bytes")
    if len(parts) != 3 or not parts[0].isalpha() or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise WireError(400, "not an HTTP/1.1 request line")
    if parts[0] == b"CONNECT":
        raise WireError(405, "this is no forward proxy")
    if not parts[1].startswith(b"/"):
        raise WireError(400, "the target must be a path")
    return parts[2]


def inspect(head: bytes, limits: WireLimits) -> Sized | Chunked | None:
    """Refuse a head that two parsers could read differently; the framing of the body."""
    version = _check_request_line(head[: head.find(b"\r\n")], limits)
    if head.count(b"\n") - 2 > limits.head_lines:
        raise WireError(431, f"more than {limits.head_lines} headers")
    lower = head.lower()
    if lower.count(b"\r\nhost:") != 1:
        raise WireError(400, "exactly one `Host` header is needed")
    return _framing(lower, version)


def _framing(lower: bytes, version: bytes) -> Sized | Chunked | None:
    lengths = lower.count(b"\r\ncontent-length:")
    codings = lower.count(b"\r\ntransfer-encoding:")
    if lengths + codings == 0:
        return None
    if lengths + codings > 1:
        raise WireError(400, "the length of the body is stated more than once")
    start = lower.index(b"\r\ncontent-length:" if lengths else b"\r\ntransfer-encoding:")
    value = lower[lower.index(b":", start) + 1 : lower.index(b"\r\n", start + 2)].strip(b" \t")
    if codings:
        if value != b"chunked" or version != b"HTTP/1.1":
            raise WireError(400, "the only `Transfer-Encoding` is `chunked`, in HTTP/1.1")
        return Chunked()
    if not value.isdigit() or len(value) > 18:
        raise WireError(400, "`Content-Length` must be one decimal number")
    return Sized(int(value)) if int(value) else None


def joined(lines: list[str]) -> bytes:
    """The head that `lines` are, with the empty line at its end.

    Raises `ValueError` where one of them holds what no line may hold.
    """
    try:
        head = "\r\n".join(lines).encode("latin-1")
    except UnicodeEncodeError:
        head = b"\0"
    breaks = len(lines) - 1
    if head.count(b"\n") > breaks or head.count(b"\r") > breaks or b"\0" in head:
        raise ValueError("a header line holds what no header may hold")
    return head + b"\r\n\r\n"


class Sized:
    """A body of `content-length` bytes."""

    def __init__(self, length: int) -> None:
        self._left = length

    def feed(self, data: bytes, emit: Emit) -> bytes | None:
        """Emit what belongs to the body; the bytes after its end, or None before that."""
        emit(data[: self._left])
        left = self._left - len(data)
        self._left = max(0, left)
        return data[len(data) + left :] if left <= 0 else None


class Chunked:
    """A body in chunks, without the leniencies in which parsers differ."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._expect = self._size_line
        self._trailer_bytes = 0

    def feed(self, data: bytes, emit: Emit) -> bytes | None:
        """Emit what belongs to the body; the bytes after its end, or None before that."""
        data, at, self._held = self._held + data, 0, b""
        while True:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                if piece:
                    emit(piece)
                if self._left:
                    return None
            end = data.find(b"\r\n", at)
            line = data[at : end if end >= 0 else len(data)]
            if b"\n" in line or b"\r" in line[:-1] or len(line) > _LONGEST_CHUNK_LINE:
                raise WireError(400, "a line of a chunked body does not end with CRLF")
            if end < 0:
                self._held = line
                return None
            at = end + 2
            if self._expect(line):
                return data[at:]

    def _size_line(self, line: bytes) -> bool:
        digits = line.partition(b";")[0]
        if not 0 < len(digits) <= 8 or digits.strip(_HEX):
            raise WireError(400, "a chunk's size is not a hexadecimal number of sane length")
        self._left = int(digits, 16)
        self._expect = self._chunk_end if self._left else self._trailer
        return False

    def _chunk_end(self, line: bytes) -> bool:
        if line:
            raise WireError(400, "a chunk is longer than its size")
        self._expect = self._size_line
        return False

    def _trailer(self, line: bytes) -> bool:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _MOST_TRAILER_BYTES:
            raise WireError(431, "the trailer of a chunked body is too large")
        return not line
