"""Translates a conversation into Responses input items, and reasoning items to thinking and back.

Shapes: `types/responses/response_input_item_param.py` of the `openai` SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_openai_wire._policy import EXTRAS
from plugway_openai_wire.responses._policy import Target
from plugway_translation import (
    ERROR_MARK,
    Media,
    Notes,
    ToolNames,
    Turn,
    block_text,
    media_of,
    media_placeholder,
    note_extras,
    readable_text,
    result_media,
    result_text,
    turns_of,
    type_name,
    unreadable,
)

Item = dict[str, Any]
_JOINT: Final = "\n\n"
"""Separates the parts of a reasoning summary within one thinking block."""


def input_of(messages: Sequence[Any], target: Target, names: ToolNames, notes: Notes) -> list[Item]:
    """The items for `messages`. Raises `InvalidRequest` if the media policy rejects something."""
    turns = turns_of(messages, notes)
    if turns and turns[-1].role == "assistant":
        turns.pop()
        notes.add("messages", "drop", "the API does not accept a prefilled reply")
    maker = _ItemBuilder(target, names, notes)
    for turn in turns:
        maker.turn(turn)
    return _followed(maker.items, notes)


class _ItemBuilder:
    """Builds the items turn by turn."""

    def __init__(self, target: Target, names: ToolNames, notes: Notes) -> None:
        self.items: list[Item] = []
        self._target = target
        self._ids = target.ids
        self._names = names
        self._notes = notes
        self._parts: list[Item] = []

    def turn(self, turn: Turn) -> None:
        """Add the items of one turn."""
        if turn.role == "assistant":
            for block in turn.blocks:
                self._assistant_block(block)
            self._flush("assistant")
        elif turn.role == "system":
            self._developer(turn.blocks)
        else:
            after = [item for block in turn.results for item in self._result(block)]
            self._parts += after
            for block in turn.blocks:
                self._user_block(block)
            self._flush("user")

    def _flush(self, role: str) -> None:
        if self._parts:
            self.items.append({"type": "message", "role": role, "content": self._parts})
            self._parts = []

    def _developer(self, content: Any) -> None:
        text = readable_text(content)
        if text:
            parts = [{"type": "input_text", "text": text}]
            self.items.append({"type": "message", "role": "developer", "content": parts})

    def _assistant_block(self, block: Mapping[str, Any]) -> None:
        """Add one block of an assistant turn."""
        match block.get("type"):
            case "text":
                self._extras(block)
                if text := block.get("text"):
                    self._parts.append({"type": "output_text", "text": text, "annotations": []})
            case "tool_use":
                self._extras(block)
                self._flush("assistant")
                self.items.append(
                    {
                        "type": "function_call",
                        "call_id": self._ids.out(str(block.get("id"))),
                        "name": self._names.out(str(block.get("name"))),
                        "arguments": orjson.dumps(as_object(block.get("input"))).decode(),
                    }
                )
            case "thinking" | "redacted_thinking":
                self._flush("assistant")
                self._thought(block)
            case _:
                self._notes.add(type_name(block.get("type")), "translate", "written as text")
                self._parts.append(
                    {"type": "output_text", "text": block_text(block), "annotations": []}
                )

    def _thought(self, block: Mapping[str, Any]) -> None:
        opened = self._target.reasoning.open(block)
        if opened is None:
            self._notes.add("thinking", "drop", "it comes from another model")
            return
        item = reasoning_item(opened.text, as_object(opened.state))
        if item is None:
            self._notes.add("thinking", "drop", "it lacks data that the API requires")
        else:
            self.items.append(item)

    def _user_block(self, block: Mapping[str, Any]) -> None:
        """Add one block of a user turn, other than a tool result."""
        match block.get("type"):
            case "text":
                self._extras(block)
                if text := block.get("text"):
                    self._parts.append({"type": "input_text", "text": text})
            case "image" | "document":
                self._extras(block)
                self._parts += self._media(block)
            case "mid_conv_system":
                self._flush("user")
                self._developer(block.get("content"))
            case _:
                self._notes.add(type_name(block.get("type")), "translate", "written as text")
                self._parts.append({"type": "input_text", "text": block_text(block)})

    def _result(self, block: Mapping[str, Any]) -> list[Item]:
        """Add the output of a call; return the parts that must follow as user content."""
        self._extras(block)
        fields = dict(block)
        if fields.get("is_error") is True:
            self._notes.add("tool_result.is_error", "translate", "marked in the text of the result")
        output: str | list[Item] = result_text(fields)
        after: list[Item] = []
        if media := result_media(fields):
            if self._target.rich_results:
                output = self._rich(fields)
            else:
                label = f"[from the result of tool call {block.get('tool_use_id')}]"
                after = [{"type": "input_text", "text": label}]
                after += [part for medium in media for part in self._media(medium)]
                self._notes.add("tool_result", "translate", "its media follow in a user message")
        call_id = self._ids.out(str(block.get("tool_use_id")))
        self.items.append({"type": "function_call_output", "call_id": call_id, "output": output})
        return after

    def _rich(self, block: Mapping[str, Any]) -> list[Item]:
        parts: list[Item] = []
        if block.get("is_error") is True:
            parts.append({"type": "input_text", "text": ERROR_MARK.strip()})
        for part in map(as_object, as_list(block.get("content"))):
            if part.get("type") in ("image", "document"):
                parts += self._media(part)
            elif text := block_text(part):
                parts.append({"type": "input_text", "text": text})
        return parts

    def _media(self, block: Mapping[str, Any]) -> list[Item]:
        media = media_of(block, self._notes)
        if media is None:
            return []
        if media.text:
            return [{"type": "input_text", "text": media.as_text}]
        if media.kind in self._target.facts.rejected_inputs:
            return [self._left_out(media, "the model does not accept it")]
        if media.kind == "image" and (because := unreadable(media)):
            return [self._left_out(media, because)]
        part = _image(media) if media.kind == "image" else _file(media)
        if part is None:
            why = "the file is stored elsewhere" if media.file_id else "it has no data"
            return [self._left_out(media, why)]
        named = media.kind == "image" or "filename" in part  # a file URL has no name
        label = media.context if named else media.as_text
        return [*([{"type": "input_text", "text": label}] if label else []), part]

    def _left_out(self, media: Media, because: str) -> Item:
        words = media_placeholder(media, self._target.media, self._notes, because)
        return {"type": "input_text", "text": words}

    def _extras(self, block: Mapping[str, Any]) -> None:
        """Note fields of a block that are dropped."""
        note_extras([block], "messages", EXTRAS, self._notes)


def _image(media: Media) -> Item | None:
    url = media.data_url if media.data else media.url
    return {"type": "input_image", "image_url": url, "detail": "auto"} if url else None


def _file(media: Media) -> Item | None:
    if media.data:
        name = media.title or "document.pdf"
        return {"type": "input_file", "filename": name, "file_data": media.data_url}
    return {"type": "input_file", "file_url": media.url} if media.url else None


def _followed(items: list[Item], notes: Notes) -> list[Item]:
    """Drop reasoning items that no output follows: the API answers 400 to them ("was provided
    without its required following item")."""
    kept: list[Item] = []
    follows = False
    for item in reversed(items):
        if item["type"] == "reasoning":
            if not follows:
                notes.add("thinking", "drop", "what followed it was removed")
                continue
        else:
            follows = item["type"] == "function_call" or item.get("role") == "assistant"
        kept.append(item)
    return kept[::-1]


# ── reasoning items in thinking blocks ───────────────────────────────────────────────────────


def reasoning_text(item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The readable text of a reasoning item, and the state to restore the item from."""
    summary, content = _texts(item.get("summary")), _texts(item.get("content"))
    parts = summary or content
    state: dict[str, Any] = {"id": str(item.get("id") or "")}
    if encrypted := item.get("encrypted_content"):
        state["enc"] = encrypted
    if not summary and content:
        state["kind"] = "content"
    if len(parts) > 1:
        state["cuts"] = [len(part) for part in parts]
    return _JOINT.join(parts), state


def reasoning_item(text: str, state: Mapping[str, Any]) -> Item | None:
    """Restore the item that `reasoning_text` read; None if the API could not use it.

    A server that stores nothing cannot find an item without `encrypted_content` (404).
    """
    parts = _cut(text, as_list(state.get("cuts"))) if text else []
    item: Item = {"type": "reasoning", "summary": []}
    if isinstance(state.get("id"), str) and state["id"]:
        item["id"] = state["id"]
    if state.get("kind") == "content":
        item["content"] = [{"type": "reasoning_text", "text": part} for part in parts]
    elif not state.get("enc"):
        return None
    else:
        item["summary"] = [{"type": "summary_text", "text": part} for part in parts]
    if state.get("enc"):
        item["encrypted_content"] = state["enc"]
    return item


def _cut(text: str, lengths: Sequence[Any]) -> list[str]:
    """Split the joined parts again; one part if the text was changed."""
    parts: list[str] = []
    at = 0
    for length in lengths:
        if not isinstance(length, int):
            return [text]
        parts.append(text[at : at + length])
        at += length + len(_JOINT)
    return parts if parts and _JOINT.join(parts) == text else [text]


def _texts(parts: Any) -> list[str]:
    """The texts of those parts that have one."""
    found = [as_object(part).get("text") for part in as_list(parts)]
    return [text for text in found if isinstance(text, str) and text]
