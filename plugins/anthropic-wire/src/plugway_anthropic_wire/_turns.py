"""Adapts turns to servers that do not take all that they may contain. Pure functions.

A server of the Messages API renders what stands beside a tool result as a turn of the user after
that of the tool, which the templates of Devstral, Ministral and Mistral Small refuse.
"""

from __future__ import annotations

from typing import Any, Final

from plugway import as_list, as_object
from plugway_translation import Notes, blocks_of

_THINKING: Final = frozenset(("thinking", "redacted_thinking"))


def strictly_ordered(messages: list[Any], notes: Notes) -> list[Any]:
    """Merge consecutive turns of one role, and move what stands beside results into the last
    result; the same object if nothing changes."""
    found: list[dict[str, Any]] = []
    for message in map(as_object, messages):
        if found and found[-1].get("role") == message.get("role"):
            notes.add("messages", "translate", "consecutive turns of one role merged")
            content = [*_blocks(found[-1].get("content")), *_blocks(message.get("content"))]
            found[-1] = {**found[-1], "content": content}
        else:
            found.append(message)
    merged = len(found) < len(messages)
    for number, message in enumerate(found):
        content = _blocks(message.get("content"))
        results = [block for block in content if block.get("type") == "tool_result"]
        beside = [block for block in content if block.get("type") in {"text", "image"}]
        if results and beside and len(results) + len(beside) == len(content):
            notes.add("messages", "translate", "text beside a result moved into the result")
            last = {**results[-1], "content": [*_blocks(results[-1].get("content")), *beside]}
            found[number] = {**message, "content": [*results[:-1], last]}
            merged = True
    return found if merged else messages


def without_thinking(messages: list[Any], notes: Notes) -> list[Any]:
    """Leave out thinking; the same object if there is none. A turn of nothing else stays, because
    an empty one is refused, too."""
    found: list[Any] = []
    for message in map(as_object, messages):
        content = message.get("content")
        kept = [
            block for block in as_list(content) if as_object(block).get("type") not in _THINKING
        ]
        less = isinstance(content, list) and kept and len(kept) < len(as_list(content))
        found.append({**message, "content": kept} if less else message)
    if all(new is old for new, old in zip(found, messages, strict=True)):
        return messages
    notes.add("messages", "drop", "the server accepts no thinking in earlier turns")
    return found


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [as_object(block) for block in blocks_of(content)] if content else []
