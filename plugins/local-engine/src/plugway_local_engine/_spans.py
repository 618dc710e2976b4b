"""Where a call that is being written ends: one finder per kind of format.

A finder sees the growing text after the opening marker. Its answer for a text never changes when
more text follows, so that the pieces a reply arrives in make no difference.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from plugway_local_engine._families._base import CallFormat

NOT_A_CALL: Final = -1
"""The text is no call in this format."""

_NEXT_VALUE: Final = -2
_HEAD_LIMIT: Final = 300
"""Characters within which the name of a call must have come."""
_IN_STRING = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_LOOSE_END = "}])` \n\t\r;"
"""What may stand between the end of a value and the closing marker: braces too many, fences."""


class Finder(Protocol):
    """Finds the end of one call."""

    def find(self, text: str, final: bool) -> int | None:
        """The index after the call, `NOT_A_CALL`, or None where more text is needed."""
        ...


def finder_for(spec: CallFormat) -> Finder:
    """A new finder for one call in that format."""
    if spec.kind in {"object", "arguments"}:
        return JsonFinder(spec)
    return TagFinder(spec) if spec.kind == "tags" else QuotedFinder(spec)


class JsonFinder:
    """The call ends with a JSON value, and with the closing marker where one follows."""

    def __init__(self, spec: CallFormat) -> None:
        self._closing = spec.closing
        self._head = re.compile(spec.head) if spec.head else None
        self._begins = "{" if spec.kind == "arguments" else "{["
        self._loose = _LOOSE_END.replace(spec.closing[:1], "") if spec.closing else ""
        quotes = "\"'" if spec.kind == "object" and spec.opening else '"'
        marker = f"|{re.escape(spec.closing)}" if spec.closing else ""
        self._outside = re.compile(f"[{quotes}{{}}\\[\\]]{marker}")
        self._at = -1
        self._depth = 0
        self._quote = ""
        self._value_end = -1

    def find(self, text: str, final: bool) -> int | None:
        """See `Finder.find`."""
        if self._at < 0:
            start = self._start(text, final)
            if start is None or start == NOT_A_CALL:
                return start
            self._at = start
        while self._value_end >= 0 or self._scan(text, final):
            end = self._with_closing(text, final)
            if end != _NEXT_VALUE:
                return end
        return NOT_A_CALL if final else None

    def _start(self, text: str, final: bool) -> int | None:
        """Where the value begins."""
        end = text.find(self._closing) if self._closing else -1
        braces = [at for mark in self._begins if (at := text.find(mark)) >= 0]
        start = min(braces, default=-1)
        if start > _HEAD_LIMIT or (start < 0 and (final or len(text) > _HEAD_LIMIT)):
            start = NOT_A_CALL
        elif start < 0 and end < 0:
            return self._reject_early(text)
        if end >= 0 and (start < 0 or end < start):
            start = self._value_end = end
        head = text[: max(start, 0)]
        if self._head is None:
            fits = re.fullmatch(r"\s*(?:```\w*\s*)?", head) is not None and start != end
        else:
            fits = self._head.fullmatch(head) is not None
        return start if fits and start >= 0 else NOT_A_CALL

    def _reject_early(self, text: str) -> int | None:
        begun = text.lstrip()
        if self._head is None and begun and not begun.startswith("`"):
            return NOT_A_CALL
        return None

    def _scan(self, text: str, final: bool) -> bool:
        while True:
            pattern = _IN_STRING[self._quote] if self._quote else self._outside
            match = pattern.search(text, self._at)
            if match is None:
                margin = 0 if self._quote else max(len(self._closing) - 1, 0)
                self._at = max(self._at, len(text) - margin)
                return False
            if self._advance(match, text):
                return True
            if self._at > len(text):
                self._at = match.start()
                return False

    def _advance(self, match: re.Match[str], text: str) -> bool:
        found, self._at = match[0], match.end()
        if self._quote:
            if found == "\\":
                self._at += 1
            else:
                self._quote = ""
        elif found in "\"'":
            self._quote = found
        elif found in "{[":
            self._depth += 1
        else:
            self._depth -= 1
            if found == self._closing:
                self._value_end = match.start()
            elif self._depth <= 0:
                self._value_end = match.end()
        return self._value_end >= 0

    def _with_closing(self, text: str, final: bool) -> int | None:
        if not self._closing:
            return self._value_end
        at = self._value_end
        while at < len(text) and text[at] in self._loose:
            at += 1
        rest = text[at : at + len(self._closing)]
        if rest == self._closing:
            return at + len(rest)
        if rest.startswith("{") and self._head is None:
            self._at, self._depth, self._value_end = at, 0, -1
            return _NEXT_VALUE
        if self._closing.startswith(rest) and not final:
            return None
        return self._value_end


class TagFinder:
    """The call ends with a closing tag; the last one in doubt, because values are written bare."""

    def __init__(self, spec: CallFormat) -> None:
        self._closing, self._outer = spec.closing, spec.outer
        self._next = (spec.opening, spec.outer.replace("/", ""), spec.outer)
        """What may follow a closing tag that is one."""
        self._head = re.compile(spec.head)
        self._named = False
        self._from = 0

    def find(self, text: str, final: bool) -> int | None:
        """See `Finder.find`."""
        if not self._named:
            self._named = self._head.match(text[:_HEAD_LIMIT]) is not None
            if not self._named:
                return NOT_A_CALL if final or len(text) >= _HEAD_LIMIT else None
        at = self._from
        while (at := text.find(self._closing, at)) >= 0:
            end = at + len(self._closing)
            verdict = self._ends(text[end:], final)
            if verdict is None:
                self._from = at
                return None
            if verdict >= 0:
                return end + verdict
            at = end
        self._from = max(self._from, len(text) - len(self._closing))
        return self._fallback(text) if final else None

    def _ends(self, rest: str, final: bool) -> int | None:
        """How much of `rest` still belongs to the call; -1: this closing tag stood in a value."""
        if not self._outer:
            return 0
        begun = rest.lstrip()
        if begun.startswith(self._outer):
            return len(rest) - len(begun) + len(self._outer)
        if final and not begun:
            return 0
        if begun.startswith(self._next):
            return 0
        return None if not final and any(w.startswith(begun) for w in self._next) else -1

    def _fallback(self, text: str) -> int:
        first = text.find(self._closing)
        return first + len(self._closing) if first >= 0 else NOT_A_CALL


class QuotedFinder:
    """The call ends with a closing marker that stands outside of quoted strings."""

    def __init__(self, spec: CallFormat) -> None:
        self._closing, self._quote = spec.closing, spec.quote
        self._head = re.compile(spec.head) if spec.head else None
        self._at = 0
        self._open = False

    def find(self, text: str, final: bool) -> int | None:
        """See `Finder.find`."""
        if self._head is not None and self._head.match(text[:_HEAD_LIMIT]) is None:
            return NOT_A_CALL if final or len(text) >= _HEAD_LIMIT else None
        while True:
            quote = text.find(self._quote, self._at) if self._quote else -1
            end = -1 if self._open else text.find(self._closing, self._at)
            if quote >= 0 and (end < 0 or quote < end):
                self._open = not self._open
                self._at = quote + len(self._quote)
            elif end >= 0:
                return end + len(self._closing)
            else:
                longest = max(len(self._quote), len(self._closing))
                self._at = max(self._at, len(text) - longest + 1)
                return NOT_A_CALL if final else None
