"""Find the end of a call in JSON; `_held` finds the end of all others.

A finder gets the growing text after the opening marker. Its result for a text does not change when
more text follows, so the chunks in which a reply arrives make no difference.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls.marks import ALL, CLOSERS

NOT_A_CALL: Final = -1
"""The text is not a call in this format."""

_NEXT_VALUE: Final = -2
HEAD_LIMIT: Final = 300
"""Characters within which the name of a call must occur."""
_GAP_LIMIT: Final = 1000
"""Maximum blanks and extra closing braces before a closing marker."""
_IN_STRING = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_MARKS: Final = tuple(mark for mark in (*ALL, *CLOSERS, "<unused") if mark.startswith("<"))
"""Markers that may follow a bare call on its line."""
_LOOSE_END = "}])` \n\t\r;"
"""Characters that may follow a value before the closing marker: extra braces, fences."""


def ends_line(rest: str, final: bool, extra: str = "", more: tuple[str, ...] = ()) -> bool | None:
    """Whether a call without markers may end before `rest`: if anything but a marker follows on its
    line, it is text, as an example, a link in Markdown or an expression is. None: more is needed.

    `extra`: characters that mean nothing there. `more`: how another call may begin.
    """
    begun = rest[:HEAD_LIMIT].lstrip(" \t\r" + extra)
    final = final or len(rest) >= HEAD_LIMIT
    if begun.startswith(("\n", *more, *_MARKS)) or (final and not begun):
        return True
    may_follow = not begun or any(mark.startswith(begun) for mark in (*more, *_MARKS))
    return None if may_follow and not final else False


def before_list(head: str) -> str:
    """The text before the arguments without the start of a list, in which some models put them."""
    begun = head.rstrip()
    return begun[:-1] if begun.endswith("[") else head


class Finder(Protocol):
    """Finds the end of one call."""

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """The index after the call, `NOT_A_CALL`, or None if more text is needed.

        `cut`: the reply was cut off here (`final` is then set too). Only complete calls count.
        """
        ...


class JsonFinder:
    """The call ends with a JSON value, and with the closing marker if one follows."""

    def __init__(self, spec: CallFormat) -> None:
        self._closing = spec.closing
        self._bare = spec.kind == "object" and not spec.opening and not spec.closing
        self._head = re.compile(spec.head) if spec.head else None
        self._begins = "{" if spec.kind == "arguments" else "{["
        self._loose = _LOOSE_END.replace(spec.closing[:1], "") if spec.closing else ""
        quotes = "\"'" if spec.kind == "object" and spec.opening else '"'
        marker = f"|{re.escape(spec.closing)}" if spec.closing else ""
        self._outside = re.compile(f"[{quotes}{{}}\\[\\]]{marker}")
        self._at = -1
        self._opened = spec.opening.endswith("[")
        self._depth = int(self._opened)
        self._quote = ""
        self._value_end = -1
        self._gap = 0
        """Index where the search for the closing marker continues."""
        self._in_list = False
        self._whole_end = -1
        """End of the last complete call, of several in one value or in a row."""

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """See `Finder.find`. Of several calls in a reply that was cut off, the complete ones."""
        end = self._find(text, final)
        return self._whole_end if cut and end == NOT_A_CALL and self._whole_end >= 0 else end

    def _find(self, text: str, final: bool) -> int | None:
        if self._at < 0:
            start = self._start(text, final)
            if start is None or start == NOT_A_CALL:
                return start
            self._at = start
            listed = self._head is None and text.startswith("[", start)
            self._in_list = self._opened or listed
        while self._value_end >= 0 or self._scan(text, final):
            end = self._with_closing(text, final)
            if end != _NEXT_VALUE:
                return end
        return NOT_A_CALL if final else None

    def _start(self, text: str, final: bool) -> int | None:
        """Index where the value starts."""
        end = text.find(self._closing) if self._closing else -1
        braces = [at for mark in self._begins if (at := text.find(mark)) >= 0]
        start = min(braces, default=-1)
        if start > HEAD_LIMIT or (start < 0 and (final or len(text) > HEAD_LIMIT)):
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
            begun = before_list(head)
            if not fits and len(begun) < len(head) and self._head.fullmatch(begun):
                start, fits = len(begun), True
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
        if self._bare:
            rest = text[self._value_end : self._value_end + HEAD_LIMIT]
            ends = ends_line(rest, final, ";,`}])", ("{", "[{"))
            return None if ends is None else self._value_end if ends else NOT_A_CALL
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
