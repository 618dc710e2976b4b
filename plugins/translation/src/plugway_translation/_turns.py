"""The turns of a conversation, for translators into APIs that have results beside turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import as_list, as_object
from plugway_translation._notes import Notes
from plugway_translation._pairs import paired
from plugway_translation._words import blocks_of, is_attribution, said_in

SEPARATOR: Final = "\n\n"
"""Between the entries of `system` where a target takes one text."""

GO_ON: Final = "Go on."
"""What the user says where the assistant is to go on, and cannot do so by itself."""

Block = dict[str, Any]


@dataclass(slots=True)
class Turn:
    """One turn, its blocks sorted. In a user turn results come first, as the APIs want it."""

    role: str
    """`user`, `assistant` or `system`."""
    blocks: list[Block]
    """All but results of tools. A text that came as a plain string is one block."""
    results: list[Block] = field(default_factory=list[Block])
    """`tool_result` blocks, one for each call of the turn before, in the order of the calls."""


def turns_of(messages: Sequence[Any], notes: Notes) -> list[Turn]:
    """The turns of `messages`, calls and results in pairs (`paired`, which has what was done about
    it in `notes`). There is always one that is not the assistant's, where there is any."""
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
        notes.add("messages", "emulate", "a user turn that asks to go on: there is none to answer")
        turns.append(Turn("user", [{"type": "text", "text": GO_ON}]))
    return turns


def is_blank(block: Mapping[str, Any]) -> bool:
    """Whether a block is a text without a word, which APIs refuse of an assistant."""
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
        told = text if isinstance(text, str) else said_in(fields)
        if told:
            texts.append(told)
    return SEPARATOR.join(texts)
