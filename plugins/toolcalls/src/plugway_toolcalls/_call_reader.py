"""Parse one call from the text after its opening marker, in any of several formats.

`_spans` and `_held` find the end of a call; `_calls` parses its text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from plugway_toolcalls._calls import Call, MalformedCall, Tools, is_readable, parse_calls
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._held import HOLD, SHORT_HOLD, HeldFinder
from plugway_toolcalls._python_spans import PythonFinder
from plugway_toolcalls._spans import NOT_A_CALL, Finder, JsonFinder
from plugway_toolcalls._tokens import Memory

_JSON: Final = frozenset(("object", "arguments"))

BARE_HEAD: Final = re.compile(
    r'\s*\[?\s*\{\s*"(?:name|function|tool|tool_name|function_name|type|tool_calls)"\s*:'
)
"""Start of a call without an opening marker."""


class CallReader:
    """One call, or several in a row. Feed it the growing text after the opening."""

    def __init__(
        self,
        formats: Sequence[CallFormat],
        name: str = "",
        *,
        patient: bool = True,
        memory: Memory | None = None,
        start: int = 0,
    ) -> None:
        """`name` is the tool's name if it preceded the end of the opening marker.

        `patient`: if a closing tag may be part of a value, wait for much of the following text.
        `memory`: findings of earlier readers in the reply; the call's text starts at `start` of it.
        """
        self._name = name
        hold = HOLD if patient else SHORT_HOLD
        memory = memory or Memory()
        self._candidates = [(spec, _finder(spec, hold, memory, start)) for spec in formats]
        self.used = 0
        """End of the last call that `calls` returned, or of the one that it could not parse."""

    def find(self, text: str, *, final: bool = False, cut: bool = False) -> int | None:
        """The index after the call, `NOT_A_CALL`, or None if more text is needed.

        `final`: nothing follows. `cut`: the reply was cut off, so unclosed calls are incomplete; of
        several calls in one value, the complete ones count.
        """
        while self._candidates:
            end = self._candidates[0][1].find(text, final or cut, cut)
            if end != NOT_A_CALL:
                return end
            self._candidates.pop(0)
        return NOT_A_CALL

    def calls(self, text: str, tools: Tools) -> list[Call]:
        """The calls in `text`, which ends where `find` said, up to the first unreadable one.

        Raises:
            MalformedCall: the first one cannot be parsed, or has no tool name.
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
