"""Checks without full decoding whether the calls of a conversation have their results.

Nearly every conversation passes, and is then relayed to a server of the client's API unchanged.
"""

from __future__ import annotations

from typing import Final

import msgspec

from plugway import Original


class _Call(msgspec.Struct):
    id: str = ""


class _Part(msgspec.Struct):
    """A Chat message, or a Responses item."""

    role: str = ""
    type: str = ""
    tool_call_id: str = ""
    call_id: str = ""
    tool_calls: list[_Call] | None = None
    function_call: msgspec.Raw | None = None


_PARTS: Final = msgspec.json.Decoder(list[_Part])


def calls_are_paired(original: Original, field: str) -> bool:
    """Whether each call in `field` is directly followed by its one result, with unique ids.

    False also if that cannot be decided cheaply.
    """
    raw = original.unparsed(field)
    try:
        found = original.get(field) if raw is None else None
        parts = msgspec.convert(found, list[_Part]) if raw is None else _PARTS.decode(raw)
    except msgspec.DecodeError:
        return False
    waiting: set[str] = set()
    known: set[str] = set()
    for part in parts:
        calls, result = _calls(part), _result(part)
        if result:
            if result not in waiting:
                return False
            waiting.remove(result)
        elif calls:
            new = set(calls)
            if (waiting and part.role) or len(new) < len(calls) or not new.isdisjoint(known):
                return False
            if "" in new:
                return False
            waiting |= new
            known |= new
        elif waiting or part.function_call is not None or part.role in ("tool", "function"):
            return False
    return not waiting


def _calls(part: _Part) -> list[str]:
    if part.tool_calls:
        return [call.id for call in part.tool_calls]
    return [part.call_id] if part.type.endswith("_call") else []


def _result(part: _Part) -> str:
    if part.role == "tool":
        return part.tool_call_id
    return part.call_id if part.type.endswith("_output") else ""
