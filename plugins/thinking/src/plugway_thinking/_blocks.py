"""Adapts the thinking blocks of a conversation to one target. Pure functions.

Unchanged blocks keep their identity: Anthropic's own blocks are never rebuilt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from plugway import as_list, as_object
from plugway_signature import is_ours, parse_signature

Elsewhere = Literal["drop", "text"]

KINDS: Final = {"thinking": "signature", "redacted_thinking": "data"}
"""Type of a block, and the field with its signature."""
_REJECTED: Final = "left out: the server rejected their signatures"


@dataclass(frozen=True, slots=True)
class Recipient:
    """The target that receives the conversation."""

    name: str
    """The backend's name."""
    model: str
    native: bool
    """Whether it is Anthropic, which rejects other signatures."""
    elsewhere: Elsewhere = "drop"
    """What to send of other models' blocks, unless the recipient is Anthropic."""
    rejected: Container[str] = ()
    """Signatures that the recipient has rejected."""


@dataclass(slots=True)
class Result:
    """A conversation, and the changes made to it."""

    messages: list[Any]
    notes: Counter[str] = field(default_factory=Counter[str])

    def because(self) -> str:
        """Describe the changes."""
        return "; ".join(
            f"{n} thinking block{'s'[: n > 1]} {note}" for note, n in self.notes.items()
        )


def for_recipient(messages: list[Any], recipient: Recipient) -> Result:
    """The conversation with the thinking that `recipient` may receive.

    Turns that become empty are dropped.
    """
    result = Result(messages)
    turns: list[Any] | None = None
    for index, message in enumerate(messages):
        turn = message
        if message["role"] == "assistant" and isinstance(message["content"], list):
            blocks = as_list(message["content"])
            kept = _blocks(blocks, recipient, result.notes)
            if kept is not blocks:
                turn = {**message, "content": kept}
        if turn is not message and turns is None:
            turns = messages[:index]
        if turns is not None and (turn is message or turn["content"]):
            turns.append(turn)
    if turns:
        result.messages = turns
    return result


def _blocks(blocks: list[Any], recipient: Recipient, notes: Counter[str]) -> list[Any]:
    kept: list[Any] | None = None
    for index, block in enumerate(blocks):
        changed = block
        fields = as_object(block)
        if (kind := fields.get("type")) == "thinking" or kind == "redacted_thinking":
            changed = _block(fields, KINDS[kind], recipient, notes)
        if changed is not block and kept is None:
            kept = blocks[:index]
        if kept is not None and changed is not None:
            kept.append(changed)
    return blocks if kept is None else kept


def _block(
    block: dict[str, Any], signed: str, recipient: Recipient, notes: Counter[str]
) -> dict[str, Any] | None:
    """The block for this recipient; None if it must not receive it."""
    mark = block.get(signed)
    if isinstance(mark, str) and mark in recipient.rejected:
        notes[_REJECTED] += 1
        return None
    if recipient.native:
        if isinstance(mark, str) and mark and not is_ours(mark):
            return block
        notes["left out: Anthropic rejects other signatures"] += 1
        return None
    found = parse_signature(mark)
    if found is not None and (found.provider, found.model) == (recipient.name, recipient.model):
        if (own := original(found.state)) in recipient.rejected:
            notes[_REJECTED] += 1
            return None
        notes["sent back with the original signature"] += 1
        return {**block, signed: own}
    text = block.get("thinking")
    if recipient.elsewhere == "text" and isinstance(text, str) and text.strip():
        notes["of another model sent as text"] += 1
        return {"type": "text", "text": f"<earlier-thinking>\n{text}\n</earlier-thinking>"}
    notes["of another model left out"] += 1
    return None


def state_of(mark: object) -> dict[str, str] | None:
    """The state to sign, from a provider's signature."""
    return {"sig": mark} if isinstance(mark, str) and mark else None


def original(state: object) -> str:
    """The provider's signature; empty if there was none."""
    mark = as_object(state).get("sig")
    return mark if isinstance(mark, str) else ""


def stamped(content: list[Any], sign: Callable[[object], str]) -> list[Any]:
    """Sign the thinking blocks of a message, wrapping the provider's signatures."""
    return [_stamped(as_object(block), sign) or block for block in content]


def _stamped(block: dict[str, Any], sign: Callable[[object], str]) -> dict[str, Any] | None:
    signed = KINDS.get(str(block.get("type")))
    return {**block, signed: sign(block.get(signed))} if signed else None
