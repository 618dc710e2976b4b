"""Holds text that may be a call until it is known to be one, and finds where it ends.

Reading a call is the business of `plugway_local_engine`'s parser; this feeds it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plugway_local_engine import CallArguments, CallStart, Family, OutputParser, Part, TextDelta
from plugway_local_engine import CallError as Failed
from plugway_tool_repair._arguments import dumps
from plugway_tool_repair._loose import NotJson, read
from plugway_tool_repair._marks import CLOSERS, aliases, family_of, head_names
from plugway_tool_repair._tools import Toolbox

_HEAD: Final = 400
_SMALL: Final = 4096
_ENDS: Final = re.compile(r"[>}\])`\"\n]")
_LAST: Final = 80


@dataclass(frozen=True, slots=True)
class Found:
    """Calls, in `used` characters of the text that was held."""

    calls: tuple[tuple[str, str], ...]
    """Name and arguments as JSON text."""
    used: int


class Capture:
    """One text that begins with the opening of a call, or bare."""

    def __init__(self, opening: str, toolbox: Toolbox) -> None:
        self._opening = opening
        self._toolbox = toolbox
        self._names = [name.lower() for name in toolbox.tools]
        self._family: Family | None = None
        self._parser: OutputParser | None = None
        self.text = ""
        self._new: list[str] = []
        self._waiting = 0
        self._fed = 0
        self._named = False

    def feed(self, text: str) -> Found | bool:
        """What it is; True while that is open, False: no call."""
        self._new.append(text)
        self._waiting += len(text)
        if self._waiting < len(self.text) // 8 and len(self.text) > _SMALL:
            return True
        return self._take(final=False)

    def finish(self) -> Found | bool:
        """What it is, now that nothing follows."""
        return self._take(final=True)

    def _take(self, final: bool) -> Found | bool:
        self.text += "".join(self._new)
        self._new, self._waiting = [], 0
        if not self._named:
            head = self.text[:_HEAD]
            self._named = head_names(head, self._names) or head_names(
                re.sub(r"[\s_-]", "", head), [re.sub(r"[\s_-]", "", n) for n in self._names]
            )
            if not self._named and (final or len(self.text) >= _HEAD):
                return False
        if self._parser is None and not self._open():
            return not final
        return self._parse(final)

    def _open(self) -> bool:
        following = self.text[len(self._opening) :].lstrip()[:1]
        if not following:
            return False
        if self._opening:
            self._family = family_of(self._opening, following)
        else:
            self._family = family_of("", "{")
        self._parser = self._fresh(self._toolbox)
        return True

    def _fresh(self, toolbox: Toolbox, more: Sequence[tuple[str, object]] = ()) -> OutputParser:
        assert self._family is not None
        tools = [*toolbox.tools.values(), *(tool for _, tool in more)]
        return OutputParser(self._family, tools)  # pyright: ignore[reportArgumentType]

    def _parse(self, final: bool) -> Found | bool:
        assert self._parser is not None
        while self._fed < len(self.text):
            size = max(_SMALL, self._fed // 4)
            piece = self.text[self._fed : self._fed + size]
            parts = self._parser.feed(piece)
            if parts:
                return self._decided(self._first_end(len(piece)))
            self._fed += len(piece)
        if not final:
            return True
        parts = self._parser.finish()
        calls = _calls(parts)
        return self._whole(calls) if calls else self._retry(self.text)

    def _first_end(self, size: int) -> int:
        """The fewest characters, of the last `size` ones, with which it is decided."""
        low, high = self._fed, self._fed + size
        while high - low > 1:
            middle = (low + high) // 2
            if self._fresh(self._toolbox).feed(self.text[:middle]):
                high = middle
            else:
                low = middle
        return high

    def _decided(self, end: int) -> Found | bool:
        text = self.text[:end]
        parts = self._fresh(self._toolbox).feed(text)
        calls = _calls(parts)
        if not calls:
            return self._retry(text)
        near = [m.end() for m in _ENDS.finditer(text, max(0, end - _LAST))]
        for used in dict.fromkeys([end, end - 1, *reversed(near)]):
            if self._clean(text[:used], calls):
                return Found(calls, used)
        return Found(calls, end)

    def _whole(self, calls: tuple[tuple[str, str], ...]) -> Found | bool:
        """The calls that are there at the end, and what belongs to them."""
        ends = [m.end() for mark in CLOSERS for m in re.finditer(re.escape(mark), self.text)]
        near = [m.end() for m in _ENDS.finditer(self.text, max(0, len(self.text) - _LAST))]
        for used in [len(self.text), *reversed(near), *sorted(ends)[:50]]:
            if self._clean(self.text[:used], calls):
                return Found(calls, used)
        return False

    def _clean(self, text: str, calls: tuple[tuple[str, str], ...]) -> bool:
        parser = self._fresh(self._toolbox)
        parts = parser.feed(text) + parser.finish()
        return _calls(parts) == calls and not _rest(parts)

    def _retry(self, text: str) -> Found | bool:
        """The same with names that are nearly right, and with JSON that is nearly valid."""
        more = aliases(text[:_HEAD], self._toolbox.tools, self._toolbox.named)
        for candidate in (text, self._loosely(text)):
            if candidate is None:
                continue
            parser = self._fresh(self._toolbox, more)
            parts = parser.feed(candidate) + parser.finish()
            calls = _calls(parts)
            if calls and not _rest(parts).strip():
                return Found(calls, len(text))
        return False

    def _loosely(self, text: str) -> str | None:
        """`text` with its first JSON value written as JSON should be."""
        begins = [at for mark in "{[" if (at := text.find(mark, len(self._opening))) >= 0]
        if not begins:
            return None
        start = min(begins)
        try:
            value, end = read(text, start)
        except NotJson:
            return None
        return text[:start] + dumps(value) + text[end:]


def _calls(parts: list[Part]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for part in parts:
        if isinstance(part, CallStart):
            found.append((part.name, "{}"))
        elif isinstance(part, CallArguments):
            found[-1] = (found[-1][0], part.fragment)
    return tuple(found)


def _rest(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta | Failed))
