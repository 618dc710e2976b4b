"""Joins text from pieces, with a size limit: an endless tool call must not fill the memory."""

from __future__ import annotations

from typing import Final

from plugway_wire.errors import BackendProtocolError

MAX_EVENT_BYTES: Final = 8 * 2**20
"""Largest event, and longest tool call, accepted from an upstream."""
_PIECES: Final = 1024
"""Pieces that are kept before they are joined: each string has an overhead of fifty bytes."""


class Gathered:
    """A text that grows by pieces."""

    __slots__ = ("_fresh", "_joined", "_limit", "_what", "size")

    def __init__(self, what: str, limit: int = MAX_EVENT_BYTES) -> None:
        """`what` names the text in errors; `limit` is in bytes of UTF-8."""
        self._what = what
        self._limit = limit
        self._joined: list[str] = []
        self._fresh: list[str] = []
        self.size = 0
        """Bytes so far."""

    def add(self, piece: str) -> None:
        """Add a piece.

        Raises:
            BackendProtocolError: the text is longer than the limit.
        """
        self.size += width(piece)
        if self.size > self._limit:
            raise BackendProtocolError(f"{self._what} is longer than {self._limit} bytes")
        self._fresh.append(piece)
        if len(self._fresh) == _PIECES:
            self._joined.append("".join(self._fresh))
            self._fresh.clear()

    def text(self) -> str:
        """The whole text."""
        if self._fresh or len(self._joined) > 1:
            self._joined = ["".join((*self._joined, *self._fresh))]
            self._fresh.clear()
        return self._joined[0] if self._joined else ""


def width(text: str) -> int:
    """The size of `text` in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
