"""Lines of a child's output, bounded: a long line is dropped, its ends are kept."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from plugway_log import without_secrets
from plugway_tools import harmless

_END: Final = 200
_VERSION: Final = rb'"jsonrpc"\s*:\s*"2\.0"\s*'
_HEAD_ID: Final = re.compile(rb"\A\s*\{\s*(?:" + _VERSION + rb',\s*)?"id"\s*:\s*(\d{1,15})\s*,')
_TAIL_ID: Final = re.compile(rb',\s*"id"\s*:\s*(\d{1,15})\s*(?:,\s*' + _VERSION + rb")?\}\s*\Z")


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line that was dropped because of its length."""

    size: int
    """Bytes."""
    head: bytes
    tail: bytes

    @classmethod
    def of(cls, line: bytes) -> LongLine:
        """The ends of a whole line."""
        return cls(len(line), line[:_END], line[-_END:])

    @property
    def id(self) -> int | None:
        """The `id` of the message that it probably is: the first member, or the last."""
        found = _HEAD_ID.match(self.head) or _TAIL_ID.search(self.tail)
        return int(found[1]) if found else None


class Lines:
    """Splits bytes into lines of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._head = self._tail = b""
        self.size = 0
        """Bytes of the line that has not ended yet."""

    def feed(self, data: bytes) -> Iterator[bytes | LongLine]:
        """The lines that end in `data`."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            self._add(part)
            yield self._line()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size <= self._limit:
            self._parts.append(part)
            return
        if self._parts:
            kept = b"".join(self._parts)
            self._head, self._tail = kept[:_END], kept[-_END:]
            self._parts.clear()
        self._head = self._head or part[:_END]
        self._tail = (self._tail + part[-_END:])[-_END:]

    def _line(self) -> bytes | LongLine:
        size, parts, head, tail = self.size, self._parts, self._head, self._tail
        self.size, self._parts, self._head, self._tail = 0, [], b"", b""
        return LongLine(size, head, tail) if size > self._limit else b"".join(parts)


class Tail:
    """The last lines of what a server printed, for messages about its end."""

    LINES: Final = 8
    CHARACTERS: Final = 300

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=self.LINES)
        self._cut = Lines(16 * self.CHARACTERS)

    def feed(self, data: bytes) -> None:
        """Add what it printed to stderr."""
        for line in self._cut.feed(data):
            self.add(line if isinstance(line, bytes) else line.head)

    def add(self, line: bytes) -> None:
        """Add one line."""
        text = line[: 4 * self.CHARACTERS].decode(errors="replace").strip()
        if text:
            self._lines.append(harmless(without_secrets(text))[: self.CHARACTERS])

    def __str__(self) -> str:
        return "\n".join(self._lines)
