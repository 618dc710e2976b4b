"""Track whether text is inside of Markdown code; see `_prose`."""

from __future__ import annotations

import re
from typing import Final

_PIECE: Final = re.compile(r"\n|`+|~+|[^\n`~]+")
_LEAD: Final = re.compile(r"(?:[ \t>]|[-*+][ \t]|\d{1,9}[.)][ \t])*+")
"""What may stand before a fence on its line: quotes and lists."""
_LEAD_OF_END: Final = re.compile(r"[ \t>]*+")
_KEPT: Final = 100
"""Characters of a line that are kept: its beginning."""


class Code:
    """Fences and code spans by the rules of CommonMark, as far as they are known from the text so
    far: a span may go on up to the end of its paragraph."""

    def __init__(self) -> None:
        self._line: str = ""
        """The beginning of the current line."""
        self._sign: str = ""
        self._count: int = 0
        """The run of backticks or tildes at the end of the text."""
        self._fence: str = ""
        self._length: int = 0
        self._quoted: bool = False
        """Whether the fence is in a quote, which ends it."""
        self._info: bool = False
        """Whether the line begins a fence of backticks."""
        self._closing: bool = False
        """Whether the line may end a fence."""
        self._span: int = 0
        """Backticks that began a code span; 0 outside of one."""

    @property
    def in_ticks(self) -> bool:
        """Whether the text ends with backticks."""
        return self._count > 0 and self._sign == "`"

    @property
    def inside(self) -> bool:
        """Whether what follows now is code."""
        self._end_run()
        self._leave_quote()
        return bool(self._fence or self._span)

    def see(self, text: str) -> None:
        """Take note of the next text."""
        idle = not (self._fence or self._span or self._count)
        if idle and "`" not in text and "~" not in text:
            begin = text.rfind("\n") + 1
            self._line = text[begin : begin + _KEPT] if begin else (self._line + text)[:_KEPT]
            return
        for match in _PIECE.finditer(text):
            piece = match[0]
            if piece == "\n":
                self._end_line()
            elif piece[0] in "`~":
                if piece[0] != self._sign:
                    self._end_run()
                self._sign, self._count = piece[0], self._count + len(piece)
            else:
                self._end_run()
                self._closing = self._closing and not piece.strip()
                self._add(piece)

    def _add(self, text: str) -> None:
        if len(self._line) < _KEPT:
            self._line = (self._line + text)[:_KEPT]

    def _end_run(self) -> None:
        if not self._count:
            return
        sign, count, self._count = self._sign, self._count, 0
        self._leave_quote()
        before = self._line
        self._add(sign * min(count, _KEPT))
        if self._fence:
            ends = sign == self._fence and count >= self._length
            self._closing = ends and _LEAD_OF_END.fullmatch(before) is not None
            if self._info and sign == "`":  # no fence: backticks in its line
                self._span, self._fence = self._length, ""
                self._turn(count)
        elif count >= 3 and _LEAD.fullmatch(before):
            self._fence, self._length, self._quoted = sign, count, ">" in before
            self._info, self._span = sign == "`", 0
        elif sign == "`":
            self._turn(count)

    def _turn(self, count: int) -> None:
        """Begin or end a code span at so many backticks."""
        if not self._span:
            self._span = count
        elif self._span == count:
            self._span = 0

    def _leave_quote(self) -> None:
        if self._fence and self._quoted and ">" not in self._line[: _lead(self._line)]:
            self._fence = ""

    def _end_line(self) -> None:
        self._end_run()
        self._leave_quote()
        if self._closing:
            self._fence = ""
        if not self._line.strip(" \t\r>"):
            self._span = 0
        self._info = self._closing = False
        self._line = ""


def _lead(line: str) -> int:
    found = _LEAD.match(line)
    return found.end() if found is not None else 0
