"""Passes or replaces each complete call of the demo model.

See `_guard` for the allowed calls. Text passes with its call markers broken, so that no later
plugin parses a call in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import StopReason
from plugway_local_engine._demo_guard import ORDERS, REFUSAL, read_conversation, reason_against
from plugway_toolcalls.marks import SEARCHED

_MARKS: Final = tuple(
    sorted(
        (
            {spec.opening for family in SEARCHED for spec in family.calls}
            | {mark for family in SEARCHED if family.header for mark in family.header.openings}
        )
        - {""},
        key=len,
        reverse=True,
    )
)
_MARK: Final = re.compile("|".join(map(re.escape, _MARKS)))
_LONGEST: Final = max(map(len, _MARKS))


class Held:
    """One reply of the demo model."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """`body` is that of the Messages request."""
        self._conversation = read_conversation(body)
        self._buffer = ""
        self._fresh = True
        self._calls = 0
        self._orders = 0
        self._refused = False
        self._fresh_reply = True

    def text(self, text: str, *, final: bool = False) -> str:
        """The part of the text so far that may be sent."""
        if not self._conversation.tools:
            return text
        self._buffer += text
        if self._fresh and not self._buffer.strip() and not final:
            return ""
        keep = 0 if final else _begun(self._buffer)
        ready = self._buffer[: len(self._buffer) - keep]
        self._buffer = self._buffer[len(ready) :]
        if self._fresh and ready:
            self._fresh = self._fresh_reply = False
            if ready.lstrip()[:1] in ("{", "["):
                ready = "Text: " + ready
        return _MARK.sub(lambda found: f"{found[0][0]} {found[0][1:]}", ready)

    def reason_against(self, name: str, arguments: str) -> str:
        """Why the call is not allowed; empty if it is."""
        held = name in ORDERS
        reason = reason_against(self._conversation, name, arguments)
        if not reason and held and self._orders:
            reason = "one such call per reply is enough"
        self._fresh = True
        if not reason:
            self._calls += 1
            self._orders += held
        return reason

    def refusal(self) -> str:
        """The text instead of a call, once per reply."""
        said, self._refused = self._refused, True
        return "" if said else REFUSAL if self._fresh_reply else f"\n\n{REFUSAL}"

    def stop_reason(self, reason: StopReason) -> StopReason:
        """The client's stop reason: without a call it must not wait for one."""
        return "end_turn" if reason == "tool_use" and not self._calls else reason


def _begun(text: str) -> int:
    """Number of characters at the end that may be the start of a marker."""
    for size in range(min(_LONGEST - 1, len(text)), 0, -1):
        if any(mark.startswith(text[-size:]) for mark in _MARKS):
            return size
    return 0
