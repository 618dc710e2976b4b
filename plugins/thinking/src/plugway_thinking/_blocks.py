"""What becomes of the thinking blocks of a conversation on the way to one target. Pure functions.

Whatever is not changed stays the same object: Anthropic's own blocks are never taken apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from plugway import as_list, as_object
from plugway_signature import is_ours, parse_signature

Elsewhere = Literal["drop", "text"]

KINDS: Final = {"thinking": "signature", "redacted_thinking": "data"}
"""Type of a block, and the member that its maker signed."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who gets the conversation."""

    name: str
    """The backend's name."""
    model: str
    native: bool
    """It is Anthropic, who refuses any signature that it has not made."""
    elsewhere: Elsewhere = "drop"
    """What becomes of blocks that somebody else made, where the reader is not Anthropic."""


@dataclass(slots=True)
class Result:
    """A conversation, and what was done to it."""

    messages: list[Any]
    notes: Counter[str] = field(default_factory=Counter[str])

    def because(self) -> str:
        """What was done, in words."""
        return "; ".join(
            f"{n} thinking block{'s'[: n > 1]} {note}" for note, n in self.notes.items()
        )


def for_reader(messages: list[Any], reader: Reader) -> Result:
    """The conversation with the thinking that `reader` may see.

    A turn of which nothing is left is left out.
    """
    result = Result(messages)
    turns: list[Any] | None = None
    for index, message in enumerate(messages):
        turn = message
        if message["role"] == "assistant" and isinstance(message["content"], list):
            blocks = as_list(message["content"])
            kept = _blocks(blocks, reader, result.notes)
            if kept is not blocks:
                turn = {**message, "content": kept}
        if turn is not message and turns is None:
            turns = messages[:index]
        if turns is not None and (turn is message or turn["content"]):
            turns.append(turn)
    if turns:
        result.messages = turns
    return result


def _blocks(blocks: list[Any], reader: Reader, notes: Counter[str]) -> list[Any]:
    kept: list[Any] | None = None
    for index, block in enumerate(blocks):
        told = block
        fields = as_object(block)
        if (kind := fields.get("type")) == "thinking" or kind == "redacted_thinking":
            told = _block(fields, KINDS[kind], reader, notes)
        if told is not block and kept is None:
            kept = blocks[:index]
        if kept is not None and told is not None:
            kept.append(told)
    return blocks if kept is None else kept


def _block(
    block: dict[str, Any], signed: str, reader: Reader, notes: Counter[str]
) -> dict[str, Any] | None:
    """The block for this reader; None where it does not get it."""
    mark = block.get(signed)
    if reader.native:
        if isinstance(mark, str) and mark and not is_ours(mark):
            return block
        notes["left out: Anthropic refuses what it has not signed"] += 1
        return None
    found = parse_signature(mark)
    if found is not None and (found.provider, found.model) == (reader.name, reader.model):
        notes["given back as their maker signed them"] += 1
        return {**block, signed: original(found.state)}
    text = block.get("thinking")
    if reader.elsewhere == "text" and isinstance(text, str) and text.strip():
        notes["of another model told as text"] += 1
        return {"type": "text", "text": f"<earlier-thinking>\n{text}\n</earlier-thinking>"}
    notes["of another model left out"] += 1
    return None


def state_of(mark: object) -> dict[str, str] | None:
    """What is kept in our signature of what the maker signed with."""
    return {"sig": mark} if isinstance(mark, str) and mark else None


def original(state: object) -> str:
    """What the maker signed with; empty where it did not sign."""
    mark = as_object(state).get("sig")
    return mark if isinstance(mark, str) else ""


def stamped(content: list[Any], sign: Callable[[object], str]) -> list[Any]:
    """The blocks of a whole message, thinking with our signature over that of its maker."""
    return [_stamped(as_object(block), sign) or block for block in content]


def _stamped(block: dict[str, Any], sign: Callable[[object], str]) -> dict[str, Any] | None:
    signed = KINDS.get(str(block.get("type")))
    return {**block, signed: sign(block.get(signed))} if signed else None
