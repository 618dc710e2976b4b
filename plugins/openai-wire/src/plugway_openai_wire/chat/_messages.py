"""Translates a conversation into Chat Completions messages. Pure functions.

Tool results become `tool` messages directly after the calls; the rest of the turn follows.
Shapes: `types/chat/chat_completion_message_param.py` of the `openai` SDK.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plugway import as_object
from plugway_openai_wire.chat._cache_markers import CacheMarkers
from plugway_openai_wire.chat._order import strictly_ordered
from plugway_openai_wire.chat._policy import Target
from plugway_openai_wire.chat._thinking import BEFORE_CALL, PARTS, extra_of, restored
from plugway_translation import (
    SEPARATOR,
    Media,
    Notes,
    ToolNames,
    Turn,
    block_text,
    media_of,
    media_placeholder,
    note_extras,
    reminder,
    result_media,
    result_text,
    turns_of,
    type_name,
    unreadable,
)

Message = dict[str, Any]
Part = dict[str, Any]

_THINKING: Final = ("thinking", "redacted_thinking")


def messages_of(
    messages: list[Any],
    system: Any,
    target: Target,
    names: ToolNames,
    marks: CacheMarkers,
    notes: Notes,
) -> list[Message]:
    """`messages` of the request, starting with the system prompt."""
    made = Conversation(target, names, marks, notes)
    prompt = marks.system(system)
    found: list[Message] = [{"role": "system", "content": prompt}] if prompt else []
    turns = turns_of(messages, notes)
    for turn in turns:
        match turn.role:
            case "assistant":
                found += made.assistant(turn, last=turn is turns[-1])
            case "system":
                found += made.system(turn)
            case _:
                found += made.user(turn)
    strict = target.quirks.strict_order or target.facts.turn_order == "strict"
    found = strictly_ordered(found, notes) if strict else found
    marks.limit(found)
    return found


class Conversation:
    """Translates turns into messages that one target accepts."""

    def __init__(self, target: Target, names: ToolNames, marks: CacheMarkers, notes: Notes) -> None:
        self._target = target
        self._names = names
        self._marks = marks
        self._notes = notes
        self._ids = target.ids

    # ── user ─────────────────────────────────────────────────────────────────────────────────

    def user(self, turn: Turn) -> list[Message]:
        """Tool results first, then their media, then the user's input."""
        note_extras([*turn.results, *turn.blocks], "messages", self._marks.extras, self._notes)
        parts: list[Part] = []
        found = [self._result(result, parts) for result in turn.results]
        for block in turn.blocks:
            parts += self._marks.marked(block, self._parts(block))
        if parts:
            found.append({"role": "user", "content": self._content(parts)})
        return found

    def _result(self, result: dict[str, Any], shown: list[Part]) -> Message:
        """The `tool` message, which holds text only; media are appended to `shown`."""
        call_id = self._ids.out(str(result.get("tool_use_id")))
        if result.get("is_error") is True:
            self._notes.add("tool_result.is_error", "translate", "marked in the text of the result")
        media = [found for block in result_media(result) if (found := media_of(block, self._notes))]
        text = result_text(result)
        if media:
            parts = [part for item in media for part in self._medium(item)]
            words = [part["text"] for part in parts if part["type"] == "text"]
            seen = [part for part in parts if part["type"] != "text"]
            if seen:
                self._notes.add("tool_result.content", "translate", "media follow in a user turn")
                words.append(f"[shown in the next message, for call {call_id}]")
                shown.append(_text(f"[from the result of call {call_id}]"))
                shown += seen
            text = "\n".join(filter(None, (text, *words)))
        message: Message = {"role": "tool", "tool_call_id": call_id, "content": text}
        return self._marks.of_result(result, message)

    def _parts(self, block: dict[str, Any]) -> list[Part]:
        if (kind := block.get("type")) == "text":
            return [_text(block["text"])] if block.get("text") else []
        media = media_of(block, self._notes)
        if media is not None:
            return self._medium(media)
        self._notes.add(f"messages.{type_name(kind)}", "translate", "written as text")
        words = block_text(block)
        return [_text(words)] if words else []

    def _medium(self, media: Media) -> list[Part]:
        quirks, facts = self._target.quirks, self._target.facts
        if media.kind == "document" and media.text:
            return [_text(media.as_text)]
        if media.kind == "image":
            takes = quirks.images and "image" not in facts.rejected_inputs
            if takes and (because := unreadable(media)):
                return self._unseen(media, because)
            if takes and (media.data or media.url):
                url = media.url or media.data_url
                return [{"type": "image_url", "image_url": {"url": url}}]
            return self._unseen(
                media, "the model does not accept images" if not takes else "it is a file"
            )
        takes = quirks.documents and "document" not in facts.rejected_inputs
        if takes and media.data:
            name = media.title or "document.pdf"
            file = {"filename": name, "file_data": media.data_url}
            context = [_text(media.context)] if media.context else []
            return [*context, {"type": "file", "file": file}]
        return self._unseen(media, "the server does not accept such documents")

    def _unseen(self, media: Media, because: str) -> list[Part]:
        return [_text(media_placeholder(media, self._target.media, self._notes, because))]

    def _content(self, parts: list[Part]) -> str | list[Part]:
        if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
            return parts[0]["text"]
        words_only = all(part.keys() == {"type", "text"} for part in parts)
        if words_only and not self._target.quirks.text_parts:
            return SEPARATOR.join(part["text"] for part in parts)
        return parts

    # ── system ───────────────────────────────────────────────────────────────────────────────

    def system(self, turn: Turn) -> list[Message]:
        """Keep a system turn in place, or turn it into a reminder."""
        note_extras(turn.blocks, "messages", self._marks.extras, self._notes)
        text = SEPARATOR.join(filter(None, map(block_text, turn.blocks)))
        if not text:
            return []
        role = "system"
        if self._target.quirks.system_turns != "keep":
            self._notes.add("messages.system", "translate", "sent as a reminder in a user turn")
            role, text = "user", reminder(text)
        parts = self._marks.of_turn(turn.blocks, _text(text))
        return [{"role": role, "content": self._content(parts)}]

    # ── assistant ────────────────────────────────────────────────────────────────────────────

    def assistant(self, turn: Turn, *, last: bool) -> list[Message]:
        """Text, calls, and thinking that this model produced."""
        note_extras(turn.blocks, "messages", self._marks.extras, self._notes)
        self._marks.note_unsent(turn.blocks)
        texts: list[str] = []
        calls: list[dict[str, Any]] = []
        thoughts: list[dict[str, Any]] = []
        waiting: dict[str, Any] = {}
        """Data to send with the next call."""
        for block in turn.blocks:
            kind = block.get("type")
            if kind == "text":
                texts.append(str(block.get("text") or ""))
            elif kind == "tool_use":
                extra = {"extra_content": waiting} if waiting else {}
                calls.append({**self._call(block), **extra})
                waiting = {}
            elif kind in _THINKING:
                place, extra = extra_of(block, self._target)
                if place == BEFORE_CALL:
                    waiting = extra
                elif place and calls:
                    calls[-1]["extra_content"] = extra
                elif not place:
                    thoughts.append(block)
            else:
                self._notes.add(f"messages.{type_name(kind)}", "translate", "written as text")
                texts.append(block_text(block))
        texts = [text for text in texts if text]
        thought = restored(thoughts, self._target, self._notes, calls=bool(calls))
        thinking = [_thought(text) for text in thought.pop(PARTS, ())]
        content = [*thinking, *map(_text, texts)] if thinking else self._content_of(texts, calls)
        message: Message = {"role": "assistant", "content": content, **thought}
        if calls:
            message["tool_calls"] = calls
        elif not texts or (last and not self._prefilled(message)):
            return []
        return [message]

    def _content_of(self, texts: list[str], calls: list[Any]) -> str | list[Part] | None:
        quirks = self._target.quirks
        if not texts:
            return None if quirks.text_parts and calls else ""
        if len(texts) == 1 or not quirks.text_parts:
            return SEPARATOR.join(texts)
        return [_text(text) for text in texts]

    def _prefilled(self, message: Message) -> bool:
        """Whether a last assistant turn, the start of the reply, can be sent."""
        refused = self._target.facts.prefill == "rejected"
        match "drop" if refused else self._target.quirks.prefill:
            case "keep":
                return True
            case "prefix":
                message["prefix"] = True
                return True
            case "drop":
                because = "the server does not accept a prefilled reply"
                self._notes.add("messages.prefill", "drop", because)
                return False

    def _call(self, block: dict[str, Any]) -> dict[str, Any]:
        name = self._names.out(str(block.get("name")))
        arguments = orjson.dumps(as_object(block.get("input"))).decode()
        function = {"name": name, "arguments": arguments}
        return {"id": self._ids.out(str(block.get("id"))), "type": "function", "function": function}


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _thought(text: str) -> Part:
    return {"type": "thinking", "thinking": [_text(text)]}
