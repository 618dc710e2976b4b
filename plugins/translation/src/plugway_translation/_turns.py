"""Splits a conversation into turns, for translators to APIs that keep results apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import as_list, as_object
from plugway_translation._notes import Notes
from plugway_translation._pairs import paired
from plugway_translation._text import blocks_of, is_attribution, readable_text

SEPARATOR: Final = "\n\n"
"""Separates the entries of `system` for a target that accepts one text."""

CONTINUE: Final = "Go on."
"""User text that asks the assistant to continue, if the API requires a user turn."""

Block = dict[str, Any]


@dataclass(slots=True)
class Turn:
    """One turn with its blocks sorted; in a user turn APIs require results first."""

    role: str
    """`user`, `assistant` or `system`."""
    blocks: list[Block]
    """All blocks except tool results. A plain string becomes one block."""
    results: list[Block] = field(default_factory=list[Block])
    """`tool_result` blocks, one for each call of the preceding turn, in the order of the calls."""


def turns_of(messages: Sequence[Any], notes: Notes) -> list[Turn]:
    """The turns of `messages`, with calls and results repaired by `paired`, which adds to `notes`.

    If there are messages, at least one turn is not the assistant's.
    """
    turns: list[Turn] = []
    order: dict[str, int] = {}
    for message in paired(messages, notes):
        fields = as_object(message)
        content = fields.get("content")
        blocks = [as_object(block) for block in blocks_of(content)] if content else []
        turn = Turn(str(fields.get("role")), blocks)
        if turn.role == "user":
            turn.blocks = [block for block in blocks if block.get("type") != "tool_result"]
            results = [block for block in blocks if block.get("type") == "tool_result"]
            turn.results = sorted(results, key=lambda block: order[str(block["tool_use_id"])])
        elif turn.role == "assistant":
            turn.blocks = [block for block in blocks if not is_blank(block)]
            if len(turn.blocks) < len(blocks):
                notes.add("messages", "drop", "blank assistant texts")
        calls = (str(block["id"]) for block in blocks if block.get("type") == "tool_use")
        order = {id_: number for number, id_ in enumerate(calls)}
        turns.append(turn)
    if turns and all(turn.role == "assistant" for turn in turns):
        notes.add("messages", "emulate", "a user turn was added that asks the model to continue")
        turns.append(Turn("user", [{"type": "text", "text": CONTINUE}]))
    return turns


def is_blank(block: Mapping[str, Any]) -> bool:
    """Whether a block is a blank text, which APIs reject in an assistant turn."""
    return block.get("type") == "text" and not str(block.get("text") or "").strip()


def system_text(system: Any, notes: Notes) -> str:
    """`system` as one text, without the attribution entry."""
    if isinstance(system, str):
        return system
    texts: list[str] = []
    for block in as_list(system):
        fields = as_object(block)
        text = fields.get("text")
        if is_attribution(text):
            notes.add("system", "drop", "the attribution entry would break every cached prefix")
            continue
        found = text if isinstance(text, str) else readable_text(fields)
        if found:
            texts.append(found)
    return SEPARATOR.join(texts)
