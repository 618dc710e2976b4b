"""Track whether text is inside of Markdown code; see `_prose`.

Code is skipped, not read: the cost depends on how often code begins and ends, not on its length.
"""

from __future__ import annotations

import re
from typing import Final

_LINE_ENDS_SPAN: Final = r"\n[ \t\r>]*+\n"
_NO_SPAN: Final = rf"`?+(?!`)[^`\n]*+{_LINE_ENDS_SPAN}"
"""Ticks that nothing closes in their paragraph of one line; here and below, after the first."""
_FENCE, _TILDES = (
    rf"(?<=\n{sign}){sign * 2}(?!{sign})[^{more}\n]*+\n(?:(?![ \t>]*+{sign * 3})[^\n]*+\n)*+"
    rf"[ \t>]*+{sign * 3}{sign}*+[^\S\n]*+\n"
    for sign, more in (("`", "`"), ("~", ""))
)
"""A fence of three."""
TICKS: Final = frozenset(("ticks", "tildes"))
"""The names of the groups for what may begin code."""


def code_or_ticks(outside: str, unlike: str) -> str:
    """A pattern for code that begins and ends, which changes nothing, and for what may begin code.

    More code may follow, after text without the characters `outside`, which begins unlike the
    pattern `unlike`. Each alternative begins with a character, so that a search is quick.
    """
    first, more = (
        rf"(?P<{name}>`*+)[^`\n]++`(?P={name})(?=[^`])|{_NO_SPAN}|{_FENCE}" for name in ("of", "in")
    )
    text = f"[^{outside}]*+"
    more = f"(?:(?!{unlike})(?:`(?:{more})|~{_TILDES}){text})*+"
    return (
        rf"`(?:(?P<code>(?:{first}){text}{more})|(?P<ticks>`*+))"
        rf"|~(?:(?P<tilde_code>{_TILDES})|(?P<tildes>~{{2,}}+|~*+\Z))"
    )


_CODE_OR_TICKS: Final = re.compile(code_or_ticks("`~", "(?!)"))
_ITEM: Final = r"[-*+][ \t]|\d{1,9}[.)][ \t]"
_LEAD: Final = re.compile(rf"(?:[ \t>]|{_ITEM})*+")
"""What may stand before a fence on its line: quotes and lists."""
_BEFORE: Final = "\n\t >"
"""Characters directly before a fence."""
_OUT_OF_QUOTE: Final = (
    rf"\n(?:[ \t]|{_ITEM})*+"
    r"(?=[^>\-*+\d \t]|[-*+][^ \t]|\d{1,9}+(?:[^.)\d]|[.)][^ \t])|\d{10})"
)
"""A line that is not in a quote."""
_ENDS: Final = {
    sign: re.compile(rf"\n[ \t>]*+(?P<ticks>{sign}{{3,}}+)[^\S\n]*+\n") for sign in "`~"
}
"""What may end a fence."""
_QUOTE_ENDS: Final = {
    sign: re.compile(rf"{_OUT_OF_QUOTE}|{end.pattern}") for sign, end in _ENDS.items()
}
_IN_SPAN: Final = re.compile(
    rf"(?P<ticks>`++)|{_LINE_ENDS_SPAN}|\n{_LEAD.pattern}(?P<fence>`{{3,}}+|~{{3,}}+|(?:`++|~++)\Z)"
)
"""What may end a code span: its ticks, a blank line, or a fence."""
_OPENING: Final = {"`": re.compile(r"\n|`++"), "~": re.compile(r"\n")}
_RUN: Final = {sign: re.compile(f"{sign}++") for sign in "`~"}
_KEPT: Final = 100
"""Characters of a line that are kept: its beginning."""


class Code:
    """Fences and code spans by the rules of CommonMark, as far as they are known from the text so
    far: a span may go on up to the end of its paragraph.

    `text` is always the text that follows what was kept, from its beginning.
    """

    def __init__(self) -> None:
        self._line = ""
        """The beginning of the current line."""
        self._sign = ""
        self._count = 0
        """The run of backticks or tildes at the end of the text."""
        self._lead = False
        """Whether a fence may begin with that run."""
        self._fence = ""
        self._length = 0
        self._quoted = False
        """Whether the fence is in a quote, which ends it."""
        self._opening = False
        """Whether the line begins the fence."""
        self._span = 0
        """Backticks that began a code span; 0 outside of one."""

    @property
    def idle(self) -> bool:
        """Whether the text ends outside of code, and not with what may begin it."""
        return not (self._fence or self._span or self._count)

    def see(self, text: str) -> None:
        """Take note of the next text."""
        if self.idle and "`" not in text and "~" not in text:
            self.keep(text, 0, len(text))
            return
        at = self.through(text, 0)
        while match := _CODE_OR_TICKS.search(text, at):
            at = match.end()
            if match.lastgroup in TICKS:
                self.begin(text, 0, match.start(), at)
                at = self.through(text, at)
        self.keep(text, 0, len(text))

    def keep(self, text: str, begin: int, end: int) -> None:
        """`text` ends at `end`, or is continued elsewhere; what precedes `begin` was kept."""
        self._line = self._line_at(text, begin, end)[:_KEPT]

    def begin(self, text: str, kept: int, start: int, end: int) -> None:
        """Take note of ticks outside of code; what precedes `kept` was kept."""
        self._sign, self._count = text[start], end - start
        whole = end < len(text)
        if (whole and end - start < 3) or (start > kept and text[start - 1] not in _BEFORE):
            if whole:
                self._end_run()
            return
        line = self._line_at(text, kept, start)
        self._lead, self._quoted = _LEAD.fullmatch(line) is not None, ">" in line
        if whole:
            self._end_run()

    def through(self, text: str, at: int) -> int:
        """Where the code ends that goes on at `at`: `at` itself outside of code."""
        before = "" if at else f"\n{self._line}"
        if self._count and (at := self._go_on(text, at)) == len(text):
            return at
        while (self._fence or self._span) and at < len(text):
            if self._opening:
                at, before = self._in_opening(text, at), ""
            elif self._fence:
                at = self._in_fence(text, at, "" if at else before)
            else:
                at = self._in_span(text, at, "" if at else before)
        return at

    def _line_at(self, text: str, begin: int, end: int) -> str:
        """The line up to `end`."""
        start = text.rfind("\n", begin, end) + 1
        if start:
            return text[start:end] if end - start <= _KEPT else text[start : start + _KEPT]
        return self._line + text[begin : min(end, begin + _KEPT)]

    def _go_on(self, text: str, at: int) -> int:
        """The end of a run that was at the end of the text; a run that ends there may go on."""
        more = _RUN[self._sign].match(text, at)
        if more is not None:
            self._count += more.end() - at
            at = more.end()
        if at < len(text):
            self._end_run()
        return at

    def _end_run(self) -> None:
        sign, count, self._count = self._sign, self._count, 0
        if self._lead and count >= 3:
            self._fence, self._length = sign, count
            self._opening, self._span = True, 0
        elif sign == "`":
            if self._opening:  # no fence: backticks in its line
                self._span, self._fence, self._opening = self._length, "", False
            if not self._span:
                self._span = count
            elif self._span == count:
                self._span = 0
        self._lead = False

    def _in_opening(self, text: str, at: int) -> int:
        """The rest of the line that begins a fence."""
        found = _OPENING[self._fence].search(text, at)
        if found is None:
            return len(text)
        if found[0] == "\n":
            self._opening = False
            return found.start()
        self._sign, self._count = "`", len(found[0])
        if found.end() < len(text):
            self._end_run()
        return found.end()

    def _in_fence(self, text: str, at: int, before: str) -> int:
        ends = (_QUOTE_ENDS if self._quoted else _ENDS)[self._fence]
        text = before + text if before else text
        while found := ends.search(text, at):
            ticks = found["ticks"]
            if ticks is None or len(ticks) >= self._length:
                self._fence = ""
                return max(0, found.end() - len(before))
            at = found.end() - 1
        return len(text) - len(before)

    def _in_span(self, text: str, at: int, before: str) -> int:
        before = "" if "`" in before or "~" in before else before
        text = before + text if before else text
        while found := _IN_SPAN.search(text, at):
            at = found.end()
            fence = found["fence"]
            ticks = fence or found["ticks"] or ""
            if not ticks:
                self._span = 0
                break
            if fence is not None or at == len(text) or len(ticks) == self._span:
                self._sign, self._count = ticks[0], len(ticks)
                self._lead = fence is not None
                self._quoted = ">" in found[0]
                if at < len(text):
                    self._end_run()
                break
        else:
            at = len(text)
        return max(0, at - len(before))
