"""Implements `context_management` for servers without it. Pure functions.

Written after the API's reference, "Context editing": `clear_tool_uses_20250919` replaces the oldest
tool results with a placeholder, `clear_thinking_20251015` removes thinking from older turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import as_list, as_object

PLACEHOLDER: Final = "[Old tool result content cleared]"
TOOLS: Final = "clear_tool_uses_20250919"
THINKING: Final = "clear_thinking_20251015"
DEFAULT_TRIGGER: Final = 100_000
DEFAULT_KEPT_RESULTS: Final = 3

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Edited:
    """The messages after all edits, and the edits to report."""

    messages: list[Message]
    applied: list[dict[str, Any]]


def wanted(value: Any) -> list[dict[str, Any]]:
    """The edits of a request's `context_management` that have an effect."""
    edits = [as_object(edit) for edit in as_list(as_object(value).get("edits"))]
    return [
        edit
        for edit in edits
        if edit.get("type") == TOOLS or (edit.get("type") == THINKING and edit.get("keep") != "all")
    ]


def least_trigger(edits: Sequence[Mapping[str, Any]]) -> int:
    """The prompt size in tokens below which no edit applies."""
    return min((_trigger(edit)[1] if _trigger(edit)[0] == "input_tokens" else 0) for edit in edits)


def apply(
    messages: Sequence[Any],
    edits: Sequence[Mapping[str, Any]],
    prompt: int,
    tokens_of: Callable[[bytes], int],
) -> Edited:
    """`messages` edited. `prompt` is their size in tokens, `tokens_of` that of a piece."""
    edited = Edited([as_object(message) for message in messages], [])
    for edit in sorted(edits, key=lambda edit: edit.get("type") != THINKING):
        if edit.get("type") == THINKING:
            _clear_thinking(edited, edit, tokens_of)
        else:
            _clear_tools(edited, edit, prompt, tokens_of)
    return edited


def describe(applied: Sequence[Mapping[str, Any]]) -> str:
    """A description of the applied edits."""
    parts = [
        f"thinking of {edit['cleared_thinking_turns']} turns"
        if edit["type"] == THINKING
        else f"old tool results ({edit['cleared_tool_uses']})"
        for edit in applied
    ]
    return f"{' and '.join(parts) or 'nothing yet'} cleared"


def _trigger(edit: Mapping[str, Any]) -> tuple[str, int]:
    """The trigger of an edit, and its threshold; thinking is cleared at once."""
    if edit.get("type") == THINKING:
        return "input_tokens", 0
    trigger = as_object(edit.get("trigger"))
    kind = trigger.get("type")
    return str(kind or "input_tokens"), _number(trigger.get("value"), DEFAULT_TRIGGER)


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and value >= 0 else default


# ── tool results ────────────────────────────────────────────────────────────────────────────


def _clear_tools(
    edited: Edited, edit: Mapping[str, Any], prompt: int, tokens_of: Callable[[bytes], int]
) -> None:
    calls = _calls(edited.messages)
    kind, value = _trigger(edit)
    if (prompt if kind == "input_tokens" else len(calls)) <= value:
        return
    keep = _number(as_object(edit.get("keep")).get("value"), DEFAULT_KEPT_RESULTS)
    kept_names = {name for name in as_list(edit.get("exclude_tools")) if isinstance(name, str)}
    ids = [id_ for id_, name in calls if name not in kept_names]
    old = frozenset(ids[: len(ids) - keep] if keep else ids)
    inputs: Any = edit.get("clear_tool_inputs")
    tools = frozenset(map(str, as_list(inputs))) if as_list(inputs) else None
    saved = 0
    cleared = 0
    messages: list[Message] = []
    for message in edited.messages:
        content: list[Any] = []
        for block in _blocks(message):
            new = _cleared(as_object(block), old, bool(inputs), tools)
            if new is not None:
                cleared += new.get("type") == "tool_result"
                saved += tokens_of(orjson.dumps(block)) - tokens_of(orjson.dumps(new))
            content.append(block if new is None else new)
        messages.append(_with(message, content))
    least = _number(as_object(edit.get("clear_at_least")).get("value"), 0)
    if not cleared or saved < least:
        return
    edited.messages[:] = messages
    edited.applied.append(
        {"type": TOOLS, "cleared_tool_uses": cleared, "cleared_input_tokens": max(0, saved)}
    )


def _calls(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """(id, name) of all calls with results, the oldest first."""
    blocks = [as_object(block) for message in messages for block in _blocks(message)]
    answered = {str(b.get("tool_use_id")) for b in blocks if b.get("type") == "tool_result"}
    return [
        (str(b.get("id")), str(b.get("name")))
        for b in blocks
        if b.get("type") == "tool_use" and str(b.get("id")) in answered
    ]


def _cleared(
    block: Message, old: frozenset[str], inputs: bool, tools: frozenset[str] | None
) -> Message | None:
    """The block without its old content, or None if it is unchanged."""
    if block.get("type") == "tool_result" and block.get("tool_use_id") in old:
        done = block.get("content") == PLACEHOLDER
        return None if done else {**block, "content": PLACEHOLDER}
    if inputs and block.get("type") == "tool_use" and block.get("id") in old:
        named = tools is None or block.get("name") in tools
        return {**block, "input": {}} if named and block.get("input") else None
    return None


# ── thinking ─────────────────────────────────────────────────────────────────────────────────


def _clear_thinking(
    edited: Edited, edit: Mapping[str, Any], tokens_of: Callable[[bytes], int]
) -> None:
    keep = max(1, _number(as_object(edit.get("keep")).get("value"), 1))
    thinking = [i for i, message in enumerate(edited.messages) if _thinks(message)]
    saved = turns = 0
    for index in thinking[: max(0, len(thinking) - keep)]:
        message = edited.messages[index]
        rest = [block for block in _blocks(message) if not _is_thinking(block)]
        if not rest:
            continue
        gone = [block for block in _blocks(message) if _is_thinking(block)]
        saved += tokens_of(orjson.dumps(gone))
        turns += 1
        edited.messages[index] = _with(message, rest)
    if turns:
        edited.applied.append(
            {"type": THINKING, "cleared_thinking_turns": turns, "cleared_input_tokens": saved}
        )


def _thinks(message: Message) -> bool:
    return message.get("role") == "assistant" and any(map(_is_thinking, _blocks(message)))


def _is_thinking(block: Any) -> bool:
    return as_object(block).get("type") in ("thinking", "redacted_thinking")


def _blocks(message: Message) -> list[Any]:
    return as_list(message.get("content"))


def _with(message: Message, content: list[Any]) -> Message:
    """The message with other blocks; one whose content is a string is unchanged."""
    return {**message, "content": content} if isinstance(message.get("content"), list) else message
