"""Extracts the data of each event from an event stream, for any chunking.

Event names are not needed, because each event's JSON contains its type. (WHATWG HTML, "Parsing an
event stream".)
"""

from __future__ import annotations

from typing import Final

from plugway import BackendProtocolError
from plugway_wire.bounds import check_answer
from plugway_wire.gather import MAX_EVENT_BYTES

DONE: Final = b"[DONE]"
"""The data of the last event in a Chat Completions stream."""
_BOM: Final = b"\xef\xbb\xbf"
"""May precede the first line, and cannot begin another one with a field."""
_PIECES: Final = 4096
_LINE: Final = 64
"""Overhead counted for each line."""


class Payloads:
    """Splits bytes into the data of events. Comments, names and ids are ignored."""

    __slots__ = ("_lines", "_rest", "_size")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        """Pieces of an incomplete line."""
        self._lines: list[bytes] = []
        self._size = 0
        """Size of the incomplete event in bytes."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of all events completed by `chunk`.

        Raises:
            BackendProtocolError: an event exceeds `MAX_EVENT_BYTES`, or contains too many
                values.
        """
        self._size += len(chunk)
        if b"\n" not in chunk:
            if self._size > MAX_EVENT_BYTES:
                raise _too_long()
            self._rest.append(chunk)
            if len(self._rest) > _PIECES:
                self._rest = [b"".join(self._rest)]
            return []
        whole = b"".join((*self._rest, chunk))
        self._rest.clear()
        pieces = whole.split(b"\n")
        del whole
        self._rest = [pieces.pop()]
        found: list[bytes] = []
        for line in pieces:
            line = line[:-1] if line.endswith(b"\r") else line
            line = line.removeprefix(_BOM)
            if line.startswith(b"data:"):
                self._lines.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._lines:
                found.append(b"\n".join(self._lines))
                check_answer(found[-1])
                self._lines = []
        self._size = len(self._rest[0]) + sum(len(line) + _LINE for line in self._lines)
        if self._size > MAX_EVENT_BYTES:
            raise _too_long()
        return found

    def flush(self) -> list[bytes]:
        """Return the data of a last event that lacks the blank line after it."""
        found = self.feed(b"\n\n")
        self._rest = []
        return found


def _too_long() -> BackendProtocolError:
    return BackendProtocolError(f"an event of more than {MAX_EVENT_BYTES} bytes")
