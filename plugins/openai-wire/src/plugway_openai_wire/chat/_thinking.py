"""Reads thinking from Chat Completions replies, and sends it back in the server's form.

`reasoning_content` (DeepSeek, llama.cpp, vLLM before 0.12, LM Studio), `reasoning` (Groq, Ollama,
vLLM, mlx-lm), `reasoning` with `reasoning_details` (OpenRouter), and parts of type `thinking` in
`content` (Mistral). The signed state of a block records its form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from plugway import as_list, as_object
from plugway_capabilities import Facts
from plugway_openai_wire.chat._policy import Target
from plugway_translation import Notes, Opened, readable_text

FIELDS: Final = ("reasoning_content", "reasoning")
"""Message fields that hold thinking as text; the first non-empty one is used."""
DETAILS: Final = "reasoning_details"
PARTS: Final = "content"
"""State key for thinking in parts of the content."""
BEFORE_CALL: Final = "call"
"""State key for data to send with the call after the block: `extra_content`, in which Gemini puts a
call's thought signature (ai.google.dev/gemini-api/docs/thought-signatures, "OpenAI
compatibility")."""
AFTER_CALL: Final = "called"
"""State key for such data of the call before the block, if it arrived last."""
_TEXTS: Final = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types of details, and the field with their text; `reasoning.encrypted` has none."""


def thought_in(delta: Mapping[str, Any]) -> tuple[str, str]:
    """The text of the thinking in a message or delta, and its field."""
    for name in FIELDS:
        text = delta.get(name)
        if isinstance(text, str) and text:
            return text, name
    return "", ""


class Details:
    """Assembles the `reasoning_details` of one block from pieces."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int | str], dict[str, Any]] = {}

    def add(self, value: Any) -> str:
        """Add pieces; return their text."""
        texts: list[str] = []
        for item in as_list(value):
            piece = as_object(item)
            kind = piece.get("type")
            member = _TEXTS.get(str(kind), "data")
            index = piece.get("index")
            key = str(kind), index if isinstance(index, int | str) else len(self._entries)
            entry = self._entries.setdefault(key, {})
            text = piece.get(member)
            total = (entry.get(member) or "") + text if isinstance(text, str) else entry.get(member)
            entry.update({name: v for name, v in piece.items() if v is not None})
            if total is not None:
                entry[member] = total
            if member != "data" and isinstance(text, str):
                texts.append(text)
        return "".join(texts)

    def take(self) -> list[dict[str, Any]]:
        """Return the entries and forget them."""
        entries, self._entries = list(self._entries.values()), {}
        return entries


def state_of(field: str, details: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """The state to sign a block with; the block's own text is not repeated in it."""
    if not details:
        return {"in": field}
    kept = [dict(entry) for entry in details]
    for entry in kept:
        member = _TEXTS.get(str(entry.get("type")), "")
        if member and text and entry.get(member) == text:
            entry[member] = None
    return {"in": field, "details": kept}


def extra_of(block: Mapping[str, Any], target: Target) -> tuple[str, dict[str, Any]]:
    """Which call the data in a block belongs to, and the data; empty for ordinary thinking."""
    opened = target.reasoning.open(block)
    state = as_object(opened.state) if opened is not None else {}
    for place in (BEFORE_CALL, AFTER_CALL):
        if extra := as_object(state.get(place)):
            return place, extra
    return "", {}


def restored(
    blocks: Sequence[dict[str, Any]], target: Target, notes: Notes, *, calls: bool
) -> dict[str, Any]:
    """The fields of an assistant message that send back the target's own thinking."""
    wanted = target.quirks.reasoning_back and target.facts.reasoning_back != "rejected"
    opened = [found for block in blocks if (found := target.reasoning.open(block)) is not None]
    if len(opened) < len(blocks):
        notes.add("messages.thinking", "drop", "from another model")
    if opened and not wanted:
        notes.add("messages.thinking", "drop", "the server does not accept it back")
        opened = []
    found = _members(opened)
    for name in [name for name in found if is_refused(name, target.facts)]:
        notes.add(f"messages.{name}", "drop", "the server rejects it")
        del found[name]
    field = target.facts.reasoning_field or FIELDS[0]
    if calls and target.facts.reasoning_back == "required" and field not in found:
        # DeepSeek answers 400 to a call without preceding thinking, and accepts an empty one.
        found[field] = ""
    return found


def is_refused(name: str, facts: Facts) -> bool:
    """Whether the server is known to reject that field of an assistant message."""
    paths = {f"messages.assistant.{name}", f"messages.{name}"}
    return not paths.isdisjoint(facts.rejected_fields)


def _members(opened: list[Opened]) -> dict[str, Any]:
    texts: dict[str, list[str]] = {}
    details: list[dict[str, Any]] = []
    for block in opened:
        state = as_object(block.state)
        field = state.get("in")
        details += [_filled(as_object(d), block.text) for d in as_list(state.get("details"))]
        if block.text and isinstance(field, str) and field:
            texts.setdefault(field, []).append(block.text)
    found: dict[str, Any] = {name: "".join(text) for name, text in texts.items() if name in FIELDS}
    if details:
        found[DETAILS] = details
    if PARTS in texts:
        found[PARTS] = texts[PARTS]
    return found


def _filled(entry: dict[str, Any], text: str) -> dict[str, Any]:
    member = _TEXTS.get(str(entry.get("type")), "")
    return {**entry, member: text} if member and entry.get(member) is None else entry


def part_text(part: Mapping[str, Any]) -> str:
    """The text of a `thinking` part, which holds nested parts."""
    return readable_text(part.get("thinking"))
