"""A conversation as strict APIs want it: each tool call with its one result right after it.

The Messages API demands that too; conversations that were broken off (Esc, a compaction, another
gateway) come without it all the same, and other APIs answer them with 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import as_list, as_object
from plugway_translation._calls import unique_calls
from plugway_translation._notes import Notes
from plugway_translation._words import ERROR_MARK, in_words, is_attribution, said_in

NO_RESULT: Final = "[no result: the call was interrupted]"
"""Stands for the result of a call that has none."""
SEPARATOR: Final = "\n\n"
"""Between the entries of `system` where a target takes one text."""

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
    """The turns of `messages`; what was added, or told in words, is in `notes`.

    A call whose id stood for another call before gets an id of its own. A result counts wherever it
    stands before the next assistant turn. A system turn between a call and its result comes after
    that.
    """
    pairing = _Pairing(notes)
    unique = unique_calls(messages)
    if unique is not messages:
        notes.add("tool_use.id", "translate", "an id stood for more than one call")
    for message in unique:
        fields = as_object(message)
        content = fields.get("content")
        if isinstance(content, str):
            blocks = [{"type": "text", "text": content}] if content else []
        else:
            blocks = [as_object(block) for block in as_list(content)]
        pairing.take(Turn(str(fields.get("role")), blocks))
    pairing.settle()
    return pairing.turns


class _Pairing:
    """Takes turns one by one and puts each result behind its call."""

    def __init__(self, notes: Notes) -> None:
        self.turns: list[Turn] = []
        self._notes = notes
        self._calls: list[str] = []
        """Ids of the calls of the last assistant turn."""
        self._found: dict[str, Block] = {}
        self._home: Turn | None = None
        """The user turn after the calls, where their results go."""
        self._held: list[Turn] = []
        """System turns that would part calls from their results."""

    def take(self, turn: Turn) -> None:
        """The next turn of the conversation."""
        if turn.role == "assistant":
            self.settle()
            said = [block for block in turn.blocks if not is_blank(block)]
            if len(said) < len(turn.blocks):
                self._notes.add("messages", "drop", "blank texts of the assistant")
            turn.blocks = said
            calls = [str(b.get("id")) for b in turn.blocks if b.get("type") == "tool_use"]
            self._calls = list(dict.fromkeys(calls))
            self.turns.append(turn)
        elif turn.role == "user":
            if self._calls and self._home is None:
                self._home = turn
            if any(block.get("type") == "tool_result" for block in turn.blocks):
                turn.blocks = self._sorted(turn.blocks)
            self.turns.append(turn)
            self._release()
        elif self._calls and self._home is None:
            self._held.append(turn)
        else:
            self.turns.append(turn)

    def settle(self) -> None:
        """Each call so far gets its result."""
        if self._calls:
            home = self._home
            if home is None:
                home = Turn("user", [])
                self.turns.append(home)
            home.results = [self._found.get(id_) or self._missing(id_) for id_ in self._calls]
            self._release()
        self._calls, self._found, self._home = [], {}, None

    def _release(self) -> None:
        self.turns += self._held
        self._held = []

    def _sorted(self, blocks: list[Block]) -> list[Block]:
        """The blocks that are no results; results go to where they belong."""
        rest: list[Block] = []
        for block in blocks:
            id_ = str(block.get("tool_use_id"))
            if block.get("type") != "tool_result":
                rest.append(block)
            elif id_ in self._found:
                self._notes.add("tool_result", "drop", "the call has its result already")
            elif id_ in self._calls:
                self._found[id_] = block
            else:
                self._notes.add("tool_result", "translate", "no call asked for it; told as text")
                rest.append({"type": "text", "text": f"[tool result]\n{result_text(block)}"})
        return rest

    def _missing(self, id_: str) -> Block:
        self._notes.add("tool_result", "emulate", "a call had none; one was put in its place")
        return {"type": "tool_result", "tool_use_id": id_, "content": NO_RESULT}


def is_blank(block: Block) -> bool:
    """Whether a block is a text without a word, which APIs refuse of an assistant."""
    return block.get("type") == "text" and not str(block.get("text") or "").strip()


def result_text(block: Block) -> str:
    """The text of a `tool_result` without its media; a failed one is marked."""
    content = block.get("content")
    if isinstance(content, str):
        text = content
    else:
        told = [
            in_words(inner)
            for part in as_list(content)
            if (inner := as_object(part)).get("type") not in ("image", "document")
        ]
        text = "\n".join(filter(None, told))
    return ERROR_MARK + text if block.get("is_error") is True else text


def result_media(block: Block) -> list[Block]:
    """The images and documents in a `tool_result`."""
    parts = [as_object(part) for part in as_list(block.get("content"))]
    return [part for part in parts if part.get("type") in ("image", "document")]


def system_text(system: Any, notes: Notes) -> str:
    """`system` as one text, without the attribution entry."""
    if isinstance(system, str):
        return system
    texts: list[str] = []
    for block in as_list(system):
        fields = as_object(block)
        text = fields.get("text")
        if is_attribution(text):
            notes.add("system", "drop", "the attribution entry would spoil every cached prefix")
            continue
        told = text if isinstance(text, str) else said_in(fields)
        if told:
            texts.append(told)
    return SEPARATOR.join(texts)
