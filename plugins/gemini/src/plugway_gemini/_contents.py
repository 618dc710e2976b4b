"""Translates the conversation into Gemini's `contents`. Pure functions.

https://ai.google.dev/gemini-api/docs/function-calling: the first and the last turn are the user's,
and results have a separate turn right after their calls: with text in the same turn, newer models
answer "Requests ending with a model turn are not supported". Thought signatures:
https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from plugway import InvalidRequest, as_object
from plugway_gemini._models import Target
from plugway_translation import (
    IdCodec,
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
)

BYPASS: Final = "skip_thought_signature_validator"
"""Documented by Google for calls that another model made. The last resort: the model then loses its
thoughts."""
IDS: Final = IdCodec(limit=256)
_IMAGES: Final = frozenset(("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"))
EXTRAS: Final = {
    "cache_control": "Gemini caches prefixes by itself",
    "citations": "Gemini has no equivalent",
}
"""Fields of blocks that are dropped, and why."""
_FILES: Final = "https://generativelanguage.googleapis.com/"

Part = dict[str, Any]


def _add(contents: list[dict[str, Any]], role: str, parts: list[Part]) -> None:
    """Append parts to the last turn if it has the same role and no results."""
    if not parts:
        return
    last: list[Part] = contents[-1]["parts"] if contents and contents[-1]["role"] == role else []
    if last and "functionResponse" not in last[0]:
        last += parts
    else:
        contents.append({"role": role, "parts": parts})


class Contents:
    """Builds the contents of one request."""

    def __init__(
        self, target: Target, names: ToolNames, notes: Notes, *, signatures: bool = True
    ) -> None:
        """Without `signatures`, the bypass replaces all of them: for rejected ones."""
        self._target = target
        self._names = names
        self._notes = notes
        self._signatures = signatures
        self._called: dict[str, str] = {}
        """Tool names by call id."""

    def of(self, messages: Sequence[Any]) -> list[dict[str, Any]]:
        """The contents. Raises `InvalidRequest` if there is no turn to answer."""
        found: list[dict[str, Any]] = []
        for turn in turns_of(messages, self._notes):
            if turn.role == "assistant":
                _add(found, "model", self._model_turn(turn))
                continue
            note_extras([*turn.results, *turn.blocks], "messages", EXTRAS, self._notes)
            if results := [self._result(block) for block in turn.results]:
                found.append({"role": "user", "parts": results})
            _add(found, "user", self._user_turn(turn))
        while found and found[-1]["role"] == "model":
            found.pop()
            self._notes.add("messages", "drop", "Gemini does not accept a prefilled reply")
        if not found:
            message = "messages: no user turn to answer"
            raise InvalidRequest(message, retry=False, record=True)
        if found[0]["role"] == "model":
            self._notes.add(
                "messages", "emulate", "a user turn was inserted before the first reply"
            )
            found.insert(0, {"role": "user", "parts": [{"text": "[the conversation continues]"}]})
        for content in found:
            if content["role"] == "model":
                self._signed(content["parts"])
        return found

    # ── model turns ──────────────────────────────────────────────────────────────────────────

    def _model_turn(self, turn: Turn) -> list[Part]:
        note_extras(turn.blocks, "messages", EXTRAS, self._notes)
        parts: list[Part] = []
        following = ""
        for block in turn.blocks:
            match block.get("type"):
                case "thinking" | "redacted_thinking":
                    part, following = self._thought(block)
                    parts += [part] if part else []
                    continue
                case "tool_use":
                    part = self._call(block)
                case "text":
                    part = {"text": block.get("text")} if block.get("text") else {}
                case kind:
                    self._notes.add(f"messages.{type_name(kind)}", "translate", "written as text")
                    part = {"text": block_text(block)}
            if part and following:
                part["thoughtSignature"], following = following, ""
            parts += [part] if part else []
        return parts

    def _thought(self, block: dict[str, Any]) -> tuple[Part, str]:
        """The thought part if it is signed, and the signature for the next part."""
        opened = self._target.reasoning.open(block)
        if opened is None:
            self._notes.add("messages.thinking", "drop", "it comes from another model")
            return {}, ""
        state = as_object(opened.state)
        own, following = state.get("own"), state.get("next")
        part: Part = {}
        if isinstance(own, str) and own and self._signatures:
            part = {"text": opened.text, "thought": True, "thoughtSignature": own}
        return part, following if isinstance(following, str) and self._signatures else ""

    def _call(self, block: dict[str, Any]) -> Part:
        id_, name = str(block.get("id")), str(block.get("name"))
        self._called[id_] = self._names.out(name)
        call = {
            "id": IDS.out(id_),
            "name": self._called[id_],
            "args": as_object(block.get("input")),
        }
        return {"functionCall": call}

    def _signed(self, parts: list[Part]) -> None:
        """Ensure that the first call of a step is signed; parallel calls need no signature."""
        first = next((part for part in parts if "functionCall" in part), None)
        if first is None or "thoughtSignature" in first or not self._target.wants_signatures:
            return
        first["thoughtSignature"] = BYPASS
        self._notes.add(
            "messages.tool_use", "emulate", "a call without a thought signature got Google's bypass"
        )

    # ── user turns ───────────────────────────────────────────────────────────────────────────

    def _user_turn(self, turn: Turn) -> list[Part]:
        """The content beside the results, starting with the results' media."""
        parts: list[Part] = []
        for block in turn.results:
            for inner in result_media(block):
                because = "its media follow in a user message"
                self._notes.add("tool_result.content", "translate", because)
                name = self._called.get(str(block.get("tool_use_id")), "")
                parts += [{"text": f"[from the result of `{name}`]"}, *self._media(inner)]
        for block in turn.blocks:
            if block.get("type") in ("image", "document"):
                parts += self._media(block)
            elif text := block_text(block):
                parts.append({"text": self._words(turn, block, text)})
        return parts

    def _words(self, turn: Turn, block: dict[str, Any], text: str) -> str:
        if block.get("type") != "text":
            kind = type_name(block.get("type"))
            self._notes.add(f"messages.{kind}", "translate", "written as text")
        if turn.role != "system":
            return text
        self._notes.add("messages.system", "translate", "sent as a reminder in a user turn")
        return reminder(text)

    def _result(self, block: dict[str, Any]) -> Part:
        """The result part; Gemini has a field for failures, so the text is not marked."""
        id_ = str(block.get("tool_use_id"))
        failed = block.get("is_error") is True
        text = result_text({**block, "is_error": False})
        response = {
            "id": IDS.out(id_),
            "name": self._called.get(id_, ""),
            "response": {"error" if failed else "output": text},
        }
        return {"functionResponse": response}

    def _media(self, block: dict[str, Any]) -> list[Part]:
        media = media_of(block, self._notes)
        if media is None:
            return []
        head = [{"text": media.as_text}] if media.text or media.title or media.context else []
        if media.text:
            return head
        if because := self._unfit(media):
            return [{"text": media_placeholder(media, self._target.media, self._notes, because)}]
        if media.data:
            return [*head, {"inlineData": {"mimeType": media.mime, "data": media.data}}]
        mime = {"mimeType": media.mime} if media.mime else {}
        return [*head, {"fileData": {**mime, "fileUri": media.url}}]

    def _unfit(self, media: Media) -> str:
        """Why the media cannot be sent; empty if it can."""
        if media.kind in self._target.facts.rejected_inputs:
            return f"this model rejected a {media.kind}"
        if media.url.startswith(_FILES):
            return ""
        if not media.data:
            return "Gemini does not fetch URLs and has no file with that id"
        known = _IMAGES if media.kind == "image" else {"application/pdf"}
        return "" if media.mime in known else "Gemini does not support this media type"
