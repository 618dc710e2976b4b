"""Selects tools for a target that accepts fewer than the client offers. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from plugway import as_list, as_object
from plugway_translation._notes import Notes

ToolT = TypeVar("ToolT", bound=Mapping[str, Any])


def limit_tools(
    tools: list[ToolT], most: int, body: Mapping[str, Any], notes: Notes
) -> list[ToolT]:
    """Keep at most `most` of the tools, in their order; 0 means no limit.

    Priority: the tool that `tool_choice` forces, then tools that the conversation has called, then
    tools that are loaded at once, then the first of the deferred ones (`defer_loading`). Returns
    the same object if all are kept.
    """
    if not most or len(tools) <= most:
        return tools
    count = len(tools) - most
    notes.add("tools", "drop", f"the server accepts {most}: {count} unused so far are left out")
    forced = as_object(body.get("tool_choice")).get("name")
    used = _called(as_list(body.get("messages")))

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
