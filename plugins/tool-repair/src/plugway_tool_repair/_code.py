"""Track whether text is inside of Markdown code; see `_prose`.

Code is skipped, not read: the cost depends on how often code begins and ends, not on its length.
"""

from __future__ import annotations

import re
from typing import Final

from plugway_toolcalls import marks

_ITEM: Final = r"[-*+][ \t]|\d{1,9}[.)][ \t]"
_LEAD: Final = re.compile(rf"(?:[ \t>]|{_ITEM})*+")
"""What may stand before a fence on its line: quotes and lists."""
_BEFORE: Final = "\n\t >"
"""Characters directly before a fence."""
_LINE_ENDS_SPAN: Final = r"[ \t\r>]*+\n"
"""A line that ends a code span; here and below, a line is what follows its `\\n`."""
FENCED: Final = frozenset(mark for mark in marks.ALL if "`" in mark)
"""Markers that begin a fence, with its line."""
_UNLIKE: Final = rf"(?!{'|'.join(map(re.escape, sorted(FENCED)))})"
_FENCE_FOLLOWS: Final = rf"\n(?={_LEAD.pattern}{_UNLIKE}(?:`{{3}}|~{{3}})[^\n]*+\n)"
"""Before a line that begins a fence, or a code span with as many backticks."""
_OUT_OF_QUOTE: Final = (
    rf"(?:[ \t]|{_ITEM})*+"
    r"(?=[^>\-*+\d \t]|[-*+][^ \t]|\d{1,9}+(?:[^.)\d]|[.)][^ \t])|\d{10})"
)
"""The beginning of a line that is not in a quote."""
_LEADS: Final = 4
"""Characters before a fence with which its code is skipped at once."""
TICKS: Final = frozenset(("ticks", "tildes"))
"""The names of the groups for what may begin code."""


def _span(name: str) -> str:
    """A pattern for a code span after its first backtick, up to its end, that of its paragraph, or
    a fence; `name` is for its group. A run of three or more may begin a fence unless more backticks
    follow in its line."""
    ticks = f"(?P={name})"
    return (
        rf"(?P<{name}>`*+)(?!(?<=```)[^`\n]*+\n)"
        rf"(?:[^`\n]++|`(?!{ticks}(?!`))`*+|\n(?!{_LINE_ENDS_SPAN}|{_LEAD.pattern}(?:`{{3}}|~{{3}})))*+"
        rf"(?:`{ticks}(?=[^`])|\n{_LINE_ENDS_SPAN}|{_FENCE_FOLLOWS})"
    )


def _fence(name: str, sign: str, *, quoted: bool = False) -> str:
    """A pattern for a fence after its first sign, up to its end; `name` is for its group."""
    widths = range(quoted, _LEADS + 1)
    leads = [rf"[ \t{'>' * quoted}]{{{width}}}" for width in widths]
    leads += [r"[-*+][ \t]", r"\d[.)][ \t]"] if not quoted else []
    before = "|".join(rf"(?<=\n{lead}{sign})" for lead in leads)
    unquoted = "".join(rf"(?<!\n[ \t]{{{width}}}{sign})" for width in widths if quoted)
    close = rf"[ \t>]*+{sign}(?P={name}){sign}*+[^\S\n]*+\n"
    ends = f"{_OUT_OF_QUOTE}|{close}" if quoted else close
    info = r"[^`\n]*+" if sign == "`" else r"[^\n]*+"
    return (
        rf"(?:{before}){unquoted}(?P<{name}>{sign}{{2,}}+){info}"
        rf"(?:\n(?!{ends})[^\n]*+)*+\n(?:{ends})"
    )


def _codes(name: str) -> tuple[str, str]:
    """Patterns for code that begins with backticks, and with tildes, each after the first sign;
    `name` is for their groups."""
    ticks, tildes = (
        f"{_fence(f'{name}_{of}', sign)}|{_fence(f'{name}_quoted_{of}', sign, quoted=True)}"
        for of, sign in (("ticks", "`"), ("tildes", "~"))
    )
    return f"(?:{_span(f'{name}_span')}|{ticks})", f"(?:{tildes})"


def code_or_ticks(outside: str) -> str:
    """A pattern for code that begins and ends, which changes nothing, and for what may begin code.

    More code may follow, after text without the characters `outside`, which begins with no marker.
    Each alternative begins with a character, so that a search is quick.
    """
    text, (ticks, tildes), (more, more_tildes) = f"[^{outside}]*+", _codes("first"), _codes("more")
    more = f"(?:{_UNLIKE}(?:`{more}|~{more_tildes}){text})*+"
    return (
        rf"`(?:(?P<code>{ticks}{text}{more})|(?P<ticks>`*+))"
        rf"|~(?:(?P<tilde_code>{tildes})|(?P<tildes>~{{2,}}+|~*+\Z))"
    )


_CODE_OR_TICKS: Final = re.compile(code_or_ticks("`~"))
_ENDS: Final = {
    sign: re.compile(rf"\n[ \t>]*+(?P<ticks>{sign}{{3,}}+)[^\S\n]*+\n") for sign in "`~"
}
"""What may end a fence."""
_QUOTE_ENDS: Final = {
    sign: re.compile(rf"\n{_OUT_OF_QUOTE}|{end.pattern}") for sign, end in _ENDS.items()
}
_IN_SPAN: Final = re.compile(
    rf"(?P<ticks>`++)|\n{_LINE_ENDS_SPAN}|{_FENCE_FOLLOWS}"
    rf"|\n{_LEAD.pattern}(?P<fence>`{{3,}}+|~{{3,}}+|(?:`++|~++)\Z)"
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
