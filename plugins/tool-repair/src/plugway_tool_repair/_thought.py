"""Calls at the end of reasoning without a reply: the model did not close its reasoning.

If anything follows, a call inside reasoning is only a thought.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from plugway_tool_repair._capture import MAX_CALL
from plugway_tool_repair._pieces import Calls, Text
from plugway_tool_repair._prose import Prose
from plugway_tool_repair._tools import Toolbox, Verdict
from plugway_toolcalls import marks

_TAIL: Final = marks.LONGEST
_OPENINGS: Final = tuple(o for o in marks.OPENINGS if not o.startswith("```"))


class Thought:
    """The reasoning of one reply, from the first call marker on."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._tail = ""
        self._kept: list[str] = []
        self._size = 0

    def add(self, text: str) -> None:
        """Add reasoning."""
        if not self._kept:
            self._tail = (self._tail + text)[-_TAIL - len(text) :]
            starts = [at for mark in _OPENINGS if (at := self._tail.find(mark)) >= 0]
            if not starts:
                self._tail = self._tail[-_TAIL:]
                return
            text = self._tail[min(starts) :]
        self._size += len(text)
        if self._size <= MAX_CALL:
            self._kept.append(text)

    def verdicts(self) -> list[Verdict]:
        """The calls at its end, if all of them are valid."""
        if not self._kept or self._size > MAX_CALL:
            return []
        prose = Prose(self._toolbox, Counter())
        found: list[tuple[str, str]] = []
        for piece in [*prose.feed("".join(self._kept)), *prose.finish()]:
            if (
                isinstance(piece, Calls)
                and piece.sure
                and not self._toolbox.is_quoted(piece.source)
            ):
                found += piece.calls
            elif not isinstance(piece, Text) or piece.text.strip():
                found = []
        verdicts = [self._toolbox.judge(name, arguments) for name, arguments in found]
        return [] if any(verdict.problems for verdict in verdicts) else verdicts
