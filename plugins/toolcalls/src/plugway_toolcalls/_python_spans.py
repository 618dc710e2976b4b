"""Find the end of calls as Python writes them; `_python` reads them."""

from __future__ import annotations

import re
from typing import Final

from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._python import INSIDE
from plugway_toolcalls._spans import HEAD_LIMIT, NOT_A_CALL, ends_line

_BEGINS: Final = re.compile(r"\[?\s*+[A-Za-z_][\w.:/-]*+\s*+\(|\[\s*\]")
_MAY_BEGIN: Final = re.compile(r"\[?\s*+(?:[A-Za-z_][\w.:/-]*+\s*+)?")
_GOES_ON: Final = -2


class PythonFinder:
    """Finds the end of a list of calls, or of statements up to the closing marker.

    A marker inside of a string is a part of the string.
    """

    def __init__(self, spec: CallFormat) -> None:
        self._closing = spec.closing
        self._is_fence = spec.opening.startswith("`")
        closing = re.escape(spec.closing) or r"(?!)"
        comment = rf"#(?:(?!{closing})[^\n])*+"
        self._outside = re.compile(rf"{comment}|[()\[\]{{}}'\"]|{closing}")
        self._gap = re.compile(rf"(?:\s++|{comment})*+")
        self._at: int = 0
        self._depth = 0
        self._quote = ""
        self._is_list: bool | None = None
        self._value_end = -1

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """See `Finder.find`."""
        if self._is_list is None:
            begun = text.lstrip()
            if not begun[1:].lstrip() and not final:
                return None if len(text) < HEAD_LIMIT else NOT_A_CALL
            if not self._is_fence and _BEGINS.match(begun) is None:
                if final or len(begun) >= HEAD_LIMIT or _MAY_BEGIN.fullmatch(begun) is None:
                    return NOT_A_CALL
                return None
            self._is_list = begun.startswith("[")
        while self._value_end >= 0 or (end := self._advance(text, final)) == _GOES_ON:
            if self._value_end < 0:
                continue
            end = self._after_list(text, final)
            if end != _GOES_ON:
                return end
            self._value_end = -1
        return self._at_the_end(text, cut) if end is None and final else end

    def _advance(self, text: str, final: bool) -> int | None:
        """One step: where the call ends, `_GOES_ON`, or None where the text ends."""
        if self._quote:
            found = INSIDE[self._quote].search(text, self._at)
            if found is None:
                self._at = max(self._at, len(text) - len(self._quote) + 1)
                return None
            if found[0] == "\\" and found.end() == len(text):
                self._at = found.start()
                return None
            self._at = found.end() + (found[0] == "\\")
            self._quote = self._quote if found[0] == "\\" else ""
            return _GOES_ON
        found = self._outside.search(text, self._at)
        if found is None:
            self._at = max(self._at, len(text) - max(len(self._closing) - 1, 0))
            return None
        return self._outside_string(found, text, final)

    def _outside_string(self, found: re.Match[str], text: str, final: bool) -> int | None:
        mark = found[0]
        if mark[0] == "#" and found.end() == len(text) and not final:
            self._at = found.start()
            return None
        if mark in {"'", '"'}:
            three = text[found.start() : found.start() + 3]
            if len(three) < 3 and three == mark * len(three) and not final:
                self._at = found.start()
                return None
            self._quote = mark * 3 if three == mark * 3 else mark
            self._at = found.start() + len(self._quote)
            return _GOES_ON
        self._at = found.end()
        if mark == self._closing:
            return found.end()
        if mark in "([{":
            self._depth += 1
        elif mark in ")]}":
            self._depth -= 1
            if self._depth <= 0 and self._is_list:
                self._value_end = found.end()
        return _GOES_ON

    def _at_the_end(self, text: str, cut: bool) -> int:
        """A closing marker in a string that is never closed, or none at all."""
        at = text.find(self._closing) if self._closing else -1
        if cut or not self._closing:
            return NOT_A_CALL
        return at + len(self._closing) if at >= 0 else NOT_A_CALL

    def _after_list(self, text: str, final: bool) -> int | None:
        """The end behind a list, `_GOES_ON` if another one follows, or None."""
        rest = text[self._value_end : self._value_end + HEAD_LIMIT]
        final = final or len(rest) == HEAD_LIMIT
        if not self._closing:
            return self._bare_end(rest, final)
        gap = self._gap.match(rest)
        begun = rest[gap.end() :] if gap is not None else rest
        at = self._value_end + len(rest) - len(begun)
        if begun.startswith(self._closing):
            return at + len(self._closing)
        if _BEGINS.match(begun) is not None and begun.startswith("["):
            self._at, self._depth = at, 0
            return _GOES_ON
        may_begin = begun.startswith("[") and _MAY_BEGIN.fullmatch(begun) is not None
        return (
            None
            if not final and (self._closing.startswith(begun) or may_begin)
            else (self._value_end)
        )

    def _bare_end(self, rest: str, final: bool) -> int | None:
        """The end of a list without markers."""
        ends = ends_line(rest, final)
        return None if ends is None else self._value_end if ends else NOT_A_CALL
