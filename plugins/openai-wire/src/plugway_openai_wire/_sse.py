"""Event streams as OpenAI-style servers write them: the data of each event, from any chunking.

Names of events are not needed: each event's JSON says what it is. (WHATWG HTML, "Parsing an event
stream".)
"""

from __future__ import annotations

from typing import Final

from plugway import BackendProtocolError

DONE: Final = b"[DONE]"
"""The data of the last event of a Chat Completions stream."""
MAX_EVENT_BYTES: Final = 16 * 2**20


class Payloads:
    """Cuts bytes into the data of events. Comments, names and ids are skipped."""

    __slots__ = ("_lines", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that are complete with `chunk`."""
        pieces = (self._rest + chunk).split(b"\n")
        self._rest = pieces.pop()
        if len(self._rest) > MAX_EVENT_BYTES:
            raise BackendProtocolError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        found: list[bytes] = []
        for line in pieces:
            line = line[:-1] if line.endswith(b"\r") else line
            if line.startswith(b"data:"):
                self._lines.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._lines:
                found.append(b"\n".join(self._lines))
                self._lines = []
        return found

    def flush(self) -> list[bytes]:
        """The data of a last event that has no blank line after it, as some servers end."""
        found = self.feed(b"\n\n")
        self._rest = b""
        return found
