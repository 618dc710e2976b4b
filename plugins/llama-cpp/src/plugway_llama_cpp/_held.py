"""Stands between the demonstration model and the client: each complete call is passed or replaced.

What may pass is `_guard`'s business. Text passes with its call marks broken, so that nothing behind
this reads a call in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import StopReason
from plugway_llama_cpp._guard import ORDERS, REFUSAL, read_conversation, reason_against
from plugway_toolcalls import FAMILIES

_MARKS: Final = tuple(
    sorted(
        (
            {spec.opening for family in FAMILIES for spec in family.calls}
            | {mark for family in FAMILIES if family.header for mark in family.header.openings}
        )
        - {""},
        key=len,
        reverse=True,
    )
)
_MARK: Final = re.compile("|".join(map(re.escape, _MARKS)))
_LONGEST: Final = max(map(len, _MARKS))


class Held:
    """One reply of the demonstration model."""

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
        """What may go out of the text so far."""
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
        """Why the call may not be made; empty where it may."""
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
        """What is said in the place of a call; once per reply."""
        said, self._refused = self._refused, True
        return "" if said else REFUSAL if self._fresh_reply else f"\n\n{REFUSAL}"

    def stop_reason(self, reason: StopReason) -> StopReason:
        """Why the reply ended, for the client: without a call it waits for none."""
        return "end_turn" if reason == "tool_use" and not self._calls else reason


def _begun(text: str) -> int:
    """How many characters at the end may be the beginning of a mark."""
    for size in range(min(_LONGEST - 1, len(text)), 0, -1):
        if any(mark.startswith(text[-size:]) for mark in _MARKS):
            return size
    return 0
