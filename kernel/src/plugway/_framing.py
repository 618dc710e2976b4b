"""Where the body of a request ends, and which lines a head may hold. No loop runs per byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from plugway._errors import Headers

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


def joined(first: str, lines: Headers) -> bytes:
    """The head that the line `first` and the header `lines` are, with the empty line at its end.

    Raises `ValueError` where one of them holds what no line may hold.
    """
    try:
        head = "\r\n".join([first, *map(": ".join, lines), "\r\n"]).encode("latin-1")
    except UnicodeEncodeError:
        head = b"\0"
    breaks = len(lines) + 2
    if head.count(b"\n") > breaks or head.count(b"\r") > breaks or b"\0" in head:
        raise ValueError("a header line holds what no header may hold")
    return head


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
