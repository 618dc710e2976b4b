"""Which tools stay where a target takes fewer than the client offers. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from plugway import as_list, as_object

ToolT = TypeVar("ToolT", bound=Mapping[str, Any])


def fewer_tools(
    tools: Sequence[ToolT], most: int, messages: Sequence[Any], choice: Any
) -> list[ToolT]:
    """At most `most` of `tools`, in their order.

    The tool that `choice` forces stays first of all, then those that the conversation has called,
    then those that the client loads at once; of the deferred ones
    (`defer_loading`), the first.
    """
    if len(tools) <= most:
        return list(tools)
    forced = as_object(choice).get("name")
    used = _called(messages)

    def rank(at: int) -> tuple[int, int]:
        tool = tools[at]
        name = tool.get("name")
        if name == forced:
            return 0, at
        if name in used:
            return 1, at
        return (3 if tool.get("defer_loading") is True else 2), at

    kept = sorted(range(len(tools)), key=rank)[:most]
    return [tools[at] for at in sorted(kept)]


def _called(messages: Sequence[Any]) -> set[str]:
    blocks = [as_object(b) for m in messages for b in as_list(as_object(m).get("content"))]
    return {str(block.get("name")) for block in blocks if block.get("type") == "tool_use"}
