"""Read text up to the next marker that begins something: leaks are removed, code is left alone.

What the marker begins is for `_prose`.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from plugway_tool_repair._code import FENCED, TICKS, Code, code_or_ticks
from plugway_toolcalls import marks

MAX_HEADER: Final = 300
_OUTSIDE: Final = re.escape("".join(sorted({mark[0] for mark in marks.ALL} | {"~"})))
_NEXT: Final = re.compile(f"{marks.MARK.pattern}|{code_or_ticks(_OUTSIDE)}")
_BEGIN: Final = marks.OPENINGS | set(marks.HEADERS) | set(marks.THINKING)
"""Markers after which something has to be read."""
_SPECIAL: Final = _BEGIN | FENCED | marks.LONGER.keys()
_UNSETTLED: Final = set(marks.HEADERS) | FENCED | marks.LONGER.keys()
"""Markers that may begin something each time, or be part of something longer."""
_SHOWN: Final = frozenset((*marks.THINKING, *marks.PAIRED.values(), *marks.OPENINGS))
"""Markers that are text where they begin nothing."""
_OPENERS: Final = {
    mark: marks.PAIRED.get(mark, mark.replace("/", "", 1)) for mark in marks.ALL if "/" in mark
}
"""What makes a marker text, if it occurred before."""


class Leaks:
    """The markers that are removed from one text."""

    def __init__(self, counts: Counter[str] | None) -> None:
        """Without `counts`, none is removed."""
        self.counts = Counter[str]() if counts is None else counts
        self._removing = counts is not None
        self._opened: set[str] = set()
        self.settled: dict[str, bool] = {}
        """Whether they are removed, for markers that begin nothing any more."""

    def take(self, mark: str, count: int) -> bool:
        """Whether so many of `mark` are removed; they are taken note of."""
        opened = self._opened
        paired = mark in opened or _OPENERS.get(mark, "") in opened
        removed = self._removing and not (paired or mark in _SHOWN)
        if not removed and mark not in opened and mark not in marks.OPENINGS:
            opened.add(mark)
            self.settled.clear()
        if mark not in _UNSETTLED:
            self.settled[mark] = removed
        if removed:
            self.counts[mark] += count
        return removed


class Passage:
    """One reading of a text."""

    def __init__(self, text: str, code: Code, leaks: Leaks, *, final: bool) -> None:
        self._text, self._code, self._leaks, self._final = text, code, leaks, final
        self._end = -1
        """Where the marker begins that was found, or may begin; negative: not known yet."""
        self._begin = 0
        """What precedes is in `_said`."""
        self._past = 0
        """What precedes is known not to begin a marker."""
        self._said: list[str] = []
        self._kept = 0
        """How much of `_said` is kept by `_code`."""
        self._begun = self._may_call = False
        self._found: str | None = None

    def read(self, *, begun: bool, may_call: bool, blank: bool) -> str | None:
        """The next marker that begins something; None: there is none.

        `begun`: text precedes, so no reasoning begins. `may_call`: calls are looked for. `blank`:
        stop at a leak if nothing precedes it, with an empty marker.
        """
        text, said, leaks, search = self._text, self._said, self._leaks, _NEXT.search
        settled, counts = leaks.settled, leaks.counts
        self._begun, self._may_call = begun, may_call
        at = self._past = 0 if self._code.idle else self._code.through(text, 0)
        while match := search(text, at):
            mark, at = match[0], match.end()
            removed = settled.get(mark)
            if removed is False:
                continue
            start = match.start()
            if removed is None and (match.lastgroup is not None or mark in _SPECIAL):
                at = self._special(mark, start, match.lastgroup or "")
                if at < 0:
                    break
                if self._past >= at:
                    continue
            elif text.startswith(mark, at):
                at = marks.end_of_run(mark, text, start)
            elif removed and not blank:
                counts[mark] += 1
                said.append(text[self._begin : start])
                self._begin = at
                continue
            if not leaks.take(mark, (at - start) // len(mark)):
                continue
            said.append(text[self._begin : start])
            self._begin = at
            if blank and not (said[-1] and not said[-1].isspace()):
                self._found, self._end = "", at
                break
            blank = False
        return self._found

    def end(self) -> tuple[str, int]:
        """The text before that marker, and where the rest begins."""
        end = max(self._limit, self._begin, self._past)
        if end > self._begin:
            self._said.append(self._text[self._begin : end])
        self._keep()
        return "".join(self._said), end

    @property
    def _limit(self) -> int:
        """Where a marker may begin whose end is not known yet."""
        if self._end < 0:
            self._end = len(self._text) - (0 if self._final else marks.held(self._text))
        return self._end

    def _special(self, mark: str, start: int, kind: str) -> int:
        """Where to go on after ticks, or a marker that may begin something; negative: nowhere."""
        text, end = self._text, start + len(mark)
        if kind:
            if start >= self._limit:
                return -1
            ticks = kind in TICKS
            if not ticks and start == self._begin:  # another line may go on here
                end, ticks = start + len(mark) - len(mark.lstrip(mark[0])), True
            self._past = self._ticks(start, end) if ticks else end
            return self._past
        grows = mark in marks.LONGER and not self._final and marks.grows(mark, text, start)
        if grows or (mark in _BEGIN and self._begins(mark, start)):
            self._end, self._found = start, None if grows else mark
            return -1
        if mark in FENCED:
            run = text.index("`", start)
            self._past = self._ticks(run, run + mark.count("`"))
            return self._past
        return marks.end_of_run(mark, text, start)

    def _ticks(self, start: int, end: int) -> int:
        """Where the code ends that these ticks may begin."""
        self._keep()
        self._code.begin(self._text, self._begin, start, end)
        return end if self._code.idle else self._code.through(self._text, end)

    def _keep(self) -> None:
        if self._kept < len(self._said):
            shown = "".join(self._said[self._kept :])
            self._code.keep(shown, 0, len(shown))
            self._kept = len(self._said)

    def _begins(self, mark: str, start: int) -> bool:
        text = self._text
        if mark in marks.THINKING:
            before = "".join((*self._said, text[self._begin : start]))
            self._begun = self._begun or not (not before or before.isspace())
            return not self._begun
        if mark in marks.OPENINGS:
            return self._may_call
        end = start + MAX_HEADER + len(marks.HEADER_END)
        return len(text) < end or text.find(marks.HEADER_END, start, end) >= 0
