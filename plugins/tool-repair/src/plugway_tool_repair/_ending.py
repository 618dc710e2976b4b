"""The end of a reply: the `stop_reason` that matches its content, and the event with it."""

from __future__ import annotations

from typing import Final

from plugway import StreamEvent, as_object

OWN_END: Final = frozenset(("end_turn", "tool_use", "stop", "tool_calls", "function_call"))
"""The `stop_reason` values of a reply that the model ended itself."""
DONE: Final = frozenset(("end_turn", "stop", "stop_sequence", "tool_use", None))


def fitting(reason: object, calls: int, *, cut: bool) -> object:
    """The `stop_reason` of a reply with that many calls; `cut`: a call was cut off and removed."""
    if cut:
        return "max_tokens" if reason in DONE and reason != "stop_sequence" else reason
    if calls and reason in {"end_turn", "stop", "stop_sequence", None}:
        return "tool_use"
    return "end_turn" if not calls and reason == "tool_use" else reason


def ended_with(item: StreamEvent, reason: object) -> StreamEvent:
    """The `message_delta` with `reason` and a token count; `item` itself if it has both."""
    delta = as_object(item.data.get("delta"))
    same = reason == delta.get("stop_reason")
    if same and isinstance(item.data.get("usage"), dict):
        return item
    new = {"usage": {"output_tokens": 0}, **item.data, "delta": delta}
    if not same:
        new["delta"] = {**delta, "stop_reason": reason, "stop_sequence": None}
    if new["usage"] is None:
        new["usage"] = {"output_tokens": 0}
    return StreamEvent(item.type, new)


def output_tokens(item: StreamEvent) -> int:
    """Tokens of the reply; 0 if unknown."""
    count = as_object(item.data.get("usage")).get("output_tokens")
    return count if isinstance(count, int) else 0
