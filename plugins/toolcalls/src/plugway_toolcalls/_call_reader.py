"""Reads one call from the text after its opening marker, in whichever of several formats it is.

Where a call ends is found by `_spans` and `_held`, what stands in it by `_calls`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from plugway_toolcalls._calls import Call, MalformedCall, Tools, is_readable, parse_calls
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._held import HOLD, SHORT_HOLD, HeldFinder
from plugway_toolcalls._python import PythonFinder
from plugway_toolcalls._spans import NOT_A_CALL, Finder, JsonFinder
from plugway_toolcalls._tokens import Memory

_JSON: Final = frozenset(("object", "arguments"))

BARE_HEAD: Final = re.compile(
    r'\s*\[?\s*\{\s*"(?:name|function|tool|tool_name|function_name|type|tool_calls)"\s*:'
)
"""How a call begins that stands bare, without an opening marker."""


class CallReader:
    """One call, or several that follow each other. Feed it the growing text after the opening."""

    def __init__(
        self,
        formats: Sequence[CallFormat],
        name: str = "",
        *,
        patient: bool = True,
        memory: Memory | None = None,
        start: int = 0,
    ) -> None:
        """`name` is that of the tool where it stood before the end of the opening marker.

        `patient`: where a closing tag may also be a part of a value, wait for much of what follows.
        `memory`: what readers before found in the reply; the call's text begins at `start` of it.
        """
        self._name = name
        hold = HOLD if patient else SHORT_HOLD
        memory = memory or Memory()
        self._candidates = [(spec, _finder(spec, hold, memory, start)) for spec in formats]
        self.used = 0
        """The end of the last call that `calls` gave, or of the one that it could not read."""

    def find(self, text: str, *, final: bool = False, cut: bool = False) -> int | None:
        """The index after the call, `NOT_A_CALL`, or None where more text is needed.

        `final`: nothing follows. `cut`: because the reply was cut off, so that what is not closed
        is not whole; of several calls in one value those that are whole count.
        """
        while self._candidates:
            end = self._candidates[0][1].find(text, final or cut, cut)
            if end != NOT_A_CALL:
                return end
            self._candidates.pop(0)
        return NOT_A_CALL

    def calls(self, text: str, tools: Tools) -> list[Call]:
        """The calls in `text`, which ends where `find` said, up to the first that cannot be read.

        Raises:
            MalformedCall: the first one cannot be read, or names no tool.
        """
        spec, finder = self._candidates[0]
        ends = finder.ends if isinstance(finder, HeldFinder) and finder.ends else [len(text)]
        found: list[Call] = []
        begin = 0
        for number, end in enumerate(ends):
            one = text[begin:end]
            if number:
                one = one.lstrip().removeprefix(spec.opening)
            try:
                found += parse_calls(spec, one, tools, self._name)
            except MalformedCall:
                if not found:
                    self.used = end
                    raise
                break
            begin = self.used = end
        return found


def _finder(spec: CallFormat, hold: int, memory: Memory, start: int) -> Finder:
    if spec.kind in _JSON:
        return JsonFinder(spec)
    if spec.kind == "python":
        return PythonFinder(spec)
    return HeldFinder(spec, hold, partial(is_readable, spec), memory.of(spec), start)
