"""Reads one call from the text after its opening marker, in whichever of several formats it is.

Where a call ends is found by `_spans`, what stands in it by `_calls`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from plugway_toolcalls._calls import Call, Tools, parse_calls
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._spans import NOT_A_CALL, finder_for

BARE_HEAD: Final = re.compile(
    r'\s*\[?\s*\{\s*"(?:name|function|tool|tool_name|function_name|type|tool_calls)"\s*:'
)
"""How a call begins that stands bare, without an opening marker."""


class CallReader:
    """One call. Feed it the growing text after the opening marker."""

    def __init__(self, formats: Sequence[CallFormat], name: str = "") -> None:
        """`name` is that of the tool where it stood before the end of the opening marker."""
        self._name = name
        self._candidates = [(spec, finder_for(spec)) for spec in formats]

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
        """The calls in `text`, which ends where `find` said.

        Raises:
            MalformedCall: it cannot be read, or names no tool.
        """
        return parse_calls(self._candidates[0][0], text, tools, self._name)
