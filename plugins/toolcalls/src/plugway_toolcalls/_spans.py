"""Where a call that is being written ends: one finder per kind of format.

A finder sees the growing text after the opening marker. Its answer for a text never changes when
more text follows, so that the pieces a reply arrives in make no difference.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from plugway_toolcalls._families._base import CallFormat

NOT_A_CALL: Final = -1
"""The text is no call in this format."""

_NEXT_VALUE: Final = -2
_HEAD_LIMIT: Final = 300
"""Characters within which the name of a call must have come."""
_GAP_LIMIT: Final = 1000
"""Blanks and closing braces too many that may stand before a closing marker."""
_IN_STRING = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_LOOSE_END = "}])` \n\t\r;"
"""What may stand between the end of a value and the closing marker: braces too many, fences."""


class Finder(Protocol):
    """Finds the end of one call."""

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """The index after the call, `NOT_A_CALL`, or None where more text is needed.

        `cut`: the reply was cut off here (`final` is then set too). Only what has certainly
        arrived whole counts.
        """
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
        self._gap = 0
        """Where the search for the closing marker goes on."""
        self._in_list = False
        self._whole_end = -1
        """After the last call that is complete, of several in one value or one after the other."""

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """See `Finder.find`. Of several calls in a reply that was cut off, those that are whole."""
        end = self._find(text, final)
        return self._whole_end if cut and end == NOT_A_CALL and self._whole_end >= 0 else end

    def _find(self, text: str, final: bool) -> int | None:
        if self._at < 0:
            start = self._start(text, final)
            if start is None or start == NOT_A_CALL:
                return start
            self._at = start
            self._in_list = text.startswith("[", start)
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
            start = self._value_end = self._gap = end
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
                self._value_end = self._gap = match.start()
            elif self._depth <= 0:
                self._value_end = self._gap = match.end()
            elif self._depth == 1 and self._in_list and found == "}":
                self._whole_end = match.end()
        return self._value_end >= 0

    def _with_closing(self, text: str, final: bool) -> int | None:
        if not self._closing:
            return self._value_end
        at, limit = self._gap, self._value_end + _GAP_LIMIT
        while at < len(text) and at < limit and text[at] in self._loose:
            at += 1
        self._gap = at
        rest = text[at : at + len(self._closing)]
        if rest == self._closing:
            return at + len(rest)
        if rest.startswith("{") and self._head is None:
            self._whole_end = self._value_end
            self._at, self._depth, self._value_end = at, 0, -1
            return _NEXT_VALUE
        if self._closing.startswith(rest) and not final:
            return None
        return self._value_end


class TagFinder:
    """The call ends with a closing tag; values are written bare, so one may stand in a value."""

    def __init__(self, spec: CallFormat) -> None:
        self._closing, self._outer = spec.closing, spec.outer
        self._next = (spec.opening, spec.outer.replace("/", ""), spec.outer)
        """What may follow a closing tag that is one."""
        self._parameter_end = spec.parameter_end
        self._head = re.compile(spec.head)
        self._body = -1
        """Where the name ends; -1 before it has come."""
        self._from = 0
        self._searched = 0
        self._ends_parameters = False
        """A parameter was ended by its own tag: then the last one will be, too."""
        self._first = self._certain = -1
        """The first closing tag, and the first that stands where the format ends a call."""

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """See `Finder.find`."""
        if self._body < 0:
            head = self._head.match(text[:_HEAD_LIMIT])
            if head is None:
                return NOT_A_CALL if final or len(text) >= _HEAD_LIMIT else None
            self._body = head.end()
        at = self._from
        while (at := text.find(self._closing, at)) >= 0:
            end = at + len(self._closing)
            self._first = end if self._first < 0 else self._first
            if self._certain < 0 and self._is_certain(text, at):
                self._certain = end
            verdict = self._ends(text, at, final and not cut)
            if verdict is None and not final:
                self._from = at
                return None
            if verdict is not None and verdict >= 0:
                return end + verdict
            at = end
        self._from = max(self._from, len(text) - len(self._closing))
        if not final:
            return None
        return self._certain if cut else self._first

    def _is_certain(self, text: str, at: int) -> bool:
        """Whether the closing tag at `at` follows the end of a parameter, or the name."""
        before = text[max(self._body, at - _GAP_LIMIT) : at].rstrip()
        if text[self._body : self._body + _GAP_LIMIT].lstrip().startswith("{"):
            return before.endswith("}")
        only_name = not before and at - self._body < _GAP_LIMIT
        return only_name or before.endswith(self._parameter_end)

    def _ends(self, text: str, at: int, final: bool) -> int | None:
        """How much still belongs to the call after the closing tag at `at`; -1: it is a value's."""
        end = at + len(self._closing)
        if not self._ends_parameters:
            self._ends_parameters = text.find(self._parameter_end, self._searched, at) >= 0
            self._searched = max(0, at - len(self._parameter_end))
        strict = self._ends_parameters or not self._outer
        if strict and not self._is_certain(text, at):
            return -1
        if not self._outer:
            return 0
        rest = text[end : end + _GAP_LIMIT]
        begun = rest.lstrip()
        if begun.startswith(self._outer):
            return len(rest) - len(begun) + len(self._outer)
        if final and not begun:
            return 0
        if begun.startswith(self._next):
            return 0
        return None if not final and any(w.startswith(begun) for w in self._next) else -1


class QuotedFinder:
    """The call ends with a closing marker that stands outside of quoted strings."""

    def __init__(self, spec: CallFormat) -> None:
        self._quote = spec.quote
        self._head = re.compile(spec.head) if spec.head else None
        markers = [re.escape(marker) for marker in (spec.quote, spec.closing) if marker]
        self._marker = re.compile("|".join(markers))
        self._in_quotes = re.compile(re.escape(spec.quote)) if spec.quote else self._marker
        self._longest = max(len(spec.quote), len(spec.closing))
        self._at = 0
        self._open = False

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """See `Finder.find`."""
        if self._head is not None and self._head.match(text[:_HEAD_LIMIT]) is None:
            return NOT_A_CALL if final or len(text) >= _HEAD_LIMIT else None
        while found := (self._in_quotes if self._open else self._marker).search(text, self._at):
            self._at = found.end()
            if found[0] != self._quote:
                return self._at
            self._open = not self._open
        self._at = max(self._at, len(text) - self._longest + 1)
        return NOT_A_CALL if final else None
