"""Which tools stay where a target takes fewer than the client offers. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from plugway import as_list, as_object
from plugway_translation._notes import Notes

ToolT = TypeVar("ToolT", bound=Mapping[str, Any])


def fewer_tools(
    tools: list[ToolT], most: int, body: Mapping[str, Any], notes: Notes
) -> list[ToolT]:
    """As many of the tools of a request as a server takes, which is `most`, in their order; 0 for
    any number. The same object where all stay.

    The tool that `tool_choice` forces stays first of all, then those that the conversation has
    called, then those that the client loads at once; of the deferred ones (`defer_loading`), the
    first.
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
