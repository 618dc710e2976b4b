"""Find the end of calls with unescaped values, in which a closing tag may be part of a value.

A value does not show whether a closing tag inside it is one, but the following text does. So the
end is decided when the reply has ended, or when so much has followed that the call must be over.
An ambiguous text is not a call: no argument is ever shortened or extended.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Final

from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._spans import HEAD_LIMIT, NOT_A_CALL, Finder, JsonFinder
from plugway_toolcalls._tokens import Plan, Scan, Token, tokens_of

HOLD: Final = 64 * 1024
"""Characters after a closing tag after which the call is over in any case."""
SHORT_HOLD: Final = 200
"""The same, once many calls of the reply have been waited for without need."""


class HeldFinder:
    """Finds the end of a call, and of calls that follow it directly."""

    def __init__(
        self,
        spec: CallFormat,
        hold: int,
        reads: Callable[[str], bool],
        scan: Scan | None = None,
        start: int = 0,
    ) -> None:
        """`reads`: whether a text after the opening marker is a call that can be parsed.

        `scan`: findings earlier in the reply; the text starts at `start` of it.
        """
        self._spec, self._reads = spec, reads
        self._hold = hold
        self._tokens = tokens_of(spec)
        self._scan, self._start = scan or Scan(spec), start
        self._json: Finder | None = None
        self._begin = -1
        """Index where the name ends; -1 if it has not been found."""
        self._searched = 0
        self._due = 0
        """Number of characters at which it is decided; 0 before a closing tag."""
        self.ends: list[int] = []
        """The end of each call."""

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """See `Finder.find`."""
        if self._begin < 0:
            head = self._tokens.head.match(text[:HEAD_LIMIT])
            if head is None:
                return NOT_A_CALL if final or len(text) >= HEAD_LIMIT else None
            if not final and not text[head.end() :].strip("{ \t\r\n"):
                return None
            self._begin = head.end()
            if self._tokens.json.match(text, self._begin):
                spec = replace(self._spec, kind="arguments", head=r"[^{]*")
                self._json = JsonFinder(spec)
        if self._json is not None:
            return self._after_json(text, self._json.find(text, final, cut), final)
        if final and cut:
            return self._decide_cut(text)
        if final:
            return self._decide(text, whole=True)
        return self._wait(text)

    def _after_json(self, text: str, end: int | None, final: bool) -> int | None:
        """The end including the closing tag of the outer format, if one follows."""
        if end is None or end < 0 or not self._spec.outers:
            return end
        rest = text[end : end + _GAP]
        begun = rest.lstrip()
        if begun.startswith(self._spec.outers):
            outer = next(mark for mark in self._spec.outers if begun.startswith(mark))
            return end + len(rest) - len(begun) + len(outer)
        may_follow = any(mark.startswith(begun) for mark in self._spec.outers)
        return None if not final and may_follow else end

    def _wait(self, text: str) -> int | None:
        if not self._due:
            found = self._tokens.closing.search(text, max(self._begin, self._searched))
            longest = max(map(len, (*self._spec.outers, "")))
            self._searched = len(text) - 2 * (len(self._spec.closing) + longest)
            if found is None:
                return None
            # Rounded up, so that several calls are decided at the same length of the text.
            step = self._hold // 4
            self._due = -(-(self._start + found.start() + self._hold) // step) * step - self._start
        while len(text) >= self._due:
            end = self._decide(text[: self._due], whole=False)
            if end != NOT_A_CALL:
                return end
            self._due *= 2
        return None

    def _decide(self, text: str, *, whole: bool) -> int:
        """The end of the calls at the start of `text`; `whole`: nothing follows it."""
        plan = self._scan.plan
        if plan.until != (self._start + len(text), whole) or not self._is_in(plan):
            tokens = self._found_tokens(text)
            plan = self._planned(text, tokens, whole=whole)
            if plan is None:
                return NOT_A_CALL
            if whole and not self._is_in(plan):
                return self._unclosed(text, tokens)
            self._scan.plan = plan
        self.ends = [end - self._start for end in plan.run(self._start + self._begin)]
        if not whole and self.ends and not _goes_on(text[self.ends[-1] :], self._spec, self._hold):
            self.ends = []
        return self.ends[-1] if self.ends else NOT_A_CALL

    def _decide_cut(self, text: str) -> int:
        """The same for a reply that was cut off: text after the calls, or a tag in them that lacks
        its end, shows that the cut may be in a value, of which a closing tag was a part."""
        tokens = self._found_tokens(text)
        count = Counter(token.kind for token in tokens)
        if count["open"] > count["close"] or count["key"] > count["end"] > 0:
            return NOT_A_CALL
        self._decide(text, whole=False)
        if self.ends and text[self.ends[-1] :].strip():
            self.ends = []
        return self.ends[-1] if self.ends else NOT_A_CALL

    def _is_in(self, plan: Plan) -> bool:
        return self._start + self._begin in plan.calls

    def _found_tokens(self, text: str) -> list[Token]:
        found = self._scan.tokens(text, self._begin, self._start)
        return [Token("open", 0, self._begin, None), *found]

    def _planned(self, text: str, tokens: list[Token], *, whole: bool) -> Plan | None:
        """The calls in `text`; None if the first may be part of a value."""
        marks: list[Token] = []
        for loose in (False, True)[: 1 + (whole and self._spec.unclosed)]:
            marks = [t for t in _real(tokens, text, self._spec, loose=loose) if t.kind in _MARKS]
            if len(marks) > 1:
                break
        calls = list(_calls(marks, whole=whole))
        ends = any(token.kind == "end" for token in tokens)
        if whole and self._is_part(text, calls, marks, ends=ends):
            return None
        found: dict[int, tuple[int, int]] = {}
        for number, (opening, close) in enumerate(calls):
            following = calls[number + 1][0] if number + 1 < len(calls) else None
            direct = following is not None and not text[close.end : following.start].strip()
            then = self._start + following.end if following is not None and direct else 0
            found[self._start + opening.end] = (self._start + close.end, then)
        return Plan((self._start + len(text), whole), found)

    def _is_part(
        self, text: str, calls: list[tuple[Token, Token]], marks: list[Token], *, ends: bool
    ) -> bool:
        """Whether an unreadable call may instead be part of the value before it.

        `ends`: arguments are closed in this reply, so a call without closed arguments is not one.
        """
        for number, (opening, close) in enumerate(calls):
            if number + 1 < len(calls) and _holds_open(marks, opening, close):
                return True
            at, end = self._start + opening.start, self._start + close.end
            one = partial(self._of, text, opening, close)
            if self._scan.once(at, end, lambda one=one: self._reads(one())) and not (
                ends and self._scan.once(at, -end, lambda one=one: self._lacks_ends(one()))
            ):
                continue
            if number + 1 < len(calls):
                return True
            starts = [opening for opening, _ in calls[-_TRIES:]]
            return any(self._reads(self._of(text, start, marks[-1])) for start in starts)
        return False

    def _lacks_ends(self, one: str) -> bool:
        """Whether a call has arguments but none is closed."""
        end, key = self._spec.parameter_end, self._spec.key
        if not key or end.partition("{key}")[0] in one:
            return False
        head = self._tokens.head.match(one)
        if head is not None and self._tokens.json.match(one, head.end()):
            return False
        return re.search(key, one) is not None

    def _of(self, text: str, opening: Token, close: Token) -> str:
        skipped = len(self._spec.opening) if opening.start else 0
        return text[opening.start + skipped : close.end]

    def _unclosed(self, text: str, tokens: list[Token]) -> int:
        """A call at the end of the reply without its closing tag."""
        last = tokens[-1]
        closed = all(token.kind in {"open", "key", "end"} for token in tokens)
        if not (closed and last.kind == "end" and not text[last.end :].strip()):
            return NOT_A_CALL
        self.ends = [last.end]
        return last.end


_GAP: Final = 1000
"""Maximum white space that is skipped to find the text before it."""


def _goes_on(rest: str, spec: CallFormat, hold: int) -> bool:
    """Whether the text after a call shows that it is over, although the reply may continue."""
    begun = rest.strip()
    return not begun or begun.startswith(("<", "[")) or len(rest) >= hold - SHORT_HOLD


_TRIES: Final = 5
_MARKS: Final = frozenset(("open", "close"))


def _holds_open(marks: list[Token], opening: Token, close: Token) -> bool:
    """Whether a call begins in a value and does not end there: if more calls follow, one of them
    may be in the value instead."""
    kinds = [mark.kind for mark in marks if opening.start < mark.start < close.start]
    return kinds.count("open") > kinds.count("close")


def _calls(marks: list[Token], *, whole: bool) -> Iterator[tuple[Token, Token]]:
    """The opening and closing token of each call, up to the first ambiguous one."""
    lacking = _lacking(marks)
    at = 0
    while at + 1 < len(marks):
        over = _first(marks, at + 1, lambda k: lacking[k] == 0)
        lazily = _first(marks, at + 1, lambda k: _may_follow(marks, k, whole))
        if over is None or over != lazily:
            return
        yield marks[at], marks[over]
        at = over + 1


def _first(marks: list[Token], at: int, fits: Callable[[int], bool]) -> int | None:
    return next((k for k in range(at, len(marks)) if marks[k].kind == "close" and fits(k)), None)


def _lacking(marks: list[Token]) -> list[int]:
    """For each token, how many closing ones after it have no opening one before them."""
    lacking, found = 0, [0] * len(marks)
    for k in range(len(marks) - 1, -1, -1):
        found[k] = lacking
        lacking = max(0, lacking + (1 if marks[k].kind == "close" else -1))
    return found


def _may_follow(marks: list[Token], k: int, whole: bool) -> bool:
    """Whether calls may follow the token `k`, whatever their values contain."""
    if k + 1 == len(marks):
        return True
    return marks[k + 1].kind == "open" and (not whole or marks[-1].kind == "close")


def _real(tokens: list[Token], text: str, spec: CallFormat, *, loose: bool) -> Iterator[Token]:
    """The tokens without closing tags at places where the format cannot end a call.

    `loose`: the last argument may be unclosed.
    """
    yield tokens[0]
    for before, token in pairwise(tokens):
        if token.kind != "close" or _closes(before, token, text, spec, loose=loose):
            yield token


def _closes(before: Token, token: Token, text: str, spec: CallFormat, *, loose: bool) -> bool:
    if spec.kind == "braces":
        return text[max(0, token.start - _GAP) : token.start].rstrip().endswith("}")
    if loose and before.kind == "key":
        return True
    between = text[before.end : token.start].strip()
    if before.kind == "open":
        return not between or (between.startswith("{") and between.endswith("}"))
    return before.kind == "end" and not between
