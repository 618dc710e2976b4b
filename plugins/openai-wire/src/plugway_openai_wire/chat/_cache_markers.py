"""Cache markers (`cache_control`) of a Messages request, for routers that support them.

OpenRouter (openrouter.ai/docs/guides/best-practices/prompt-caching) reads them on text parts of
messages. LiteLLM copies parts of a `tool` message into the content of the result, where Anthropic
rejects a marker, but reads a marker on the message itself
(docs.litellm.ai/docs/completion/prompt_caching).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from plugway import as_list, as_object
from plugway_openai_wire._policy import EXTRAS
from plugway_openai_wire.chat._policy import Target
from plugway_translation import Notes, system_text

MOST: Final = 4
"""Maximum number of markers that Anthropic accepts in a request."""
_NAME: Final = "cache_control"
_LIFETIMES: Final = ("5m", "1h")
_SENT: Final = "kept, as the router documents"
_NOWHERE: Final = "the router supports markers only on texts of system, user and tool messages"
_TOO_MANY: Final = f"only {MOST} are accepted: the first and the last are kept"
_UNMARKED: Final = {name: because for name, because in EXTRAS.items() if name != _NAME}


class CacheMarkers:
    """The markers of one request, kept if the server supports them for the model."""

    def __init__(self, target: Target, model: object, notes: Notes) -> None:
        models = target.quirks.cache_marks
        refused = any(path.rpartition(".")[2] == _NAME for path in target.facts.rejected_fields)
        self.kept = bool(models and re.match(models, str(model))) and not refused
        self._on_message = target.quirks.result_marks == "message"
        self._notes = notes

    @property
    def extras(self) -> Mapping[str, str]:
        """Fields of blocks that are dropped, and why."""
        return _UNMARKED if self.kept else EXTRAS

    def system(self, system: Any) -> str | list[dict[str, Any]]:
        """The system prompt: one text, or one part per entry if any is marked."""
        entries = as_list(system)
        if not self.kept or not any(as_object(entry).get(_NAME) for entry in entries):
            return system_text(system, self._notes)
        found: list[dict[str, Any]] = []
        for entry in entries:
            text = system_text([entry], self._notes)
            part = {"type": "text", "text": text}
            found += self.marked(entry, [part] if text else [])
        return found

    def marked(self, block: Mapping[str, Any], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The parts made from a block, with its marker on the last part if that is a text."""
        mark = self._of(block)
        if not mark:
            return parts
        if not parts or parts[-1].get("type") != "text":
            self._notes.add(f"messages.{_NAME}", "drop", _NOWHERE)
            return parts
        self._notes.add(_NAME, "translate", _SENT)
        return [*parts[:-1], parts[-1] | mark]

    def of_result(self, result: Mapping[str, Any], message: dict[str, Any]) -> dict[str, Any]:
        """The `tool` message of a result, with the marker of the result or of its last entry."""
        inner = as_list(result.get("content"))
        block = result if result.get(_NAME) else as_object(inner[-1] if inner else None)
        text = message["content"]
        if self._on_message and text and (mark := self._of(block)):
            self._notes.add(_NAME, "translate", _SENT)
            return message | mark
        parts = self.marked(block, [{"type": "text", "text": text}] if text else [])
        return {**message, "content": parts} if parts and _NAME in parts[-1] else message

    def of_turn(self, blocks: Sequence[Mapping[str, Any]], part: dict[str, Any]) -> list[Any]:
        """The single part made from several blocks, with a marker if one of them has one."""
        marked = [block for block in blocks if block.get(_NAME)]
        return self.marked(marked[-1], [part]) if marked else [part]

    def note_unsent(self, blocks: Iterable[Mapping[str, Any]]) -> None:
        """Note the markers of an assistant turn, which the router ignores."""
        for block in blocks:
            if self._of(block):
                self._notes.add(f"messages.{_NAME}", "drop", _NOWHERE)

    def limit(self, messages: Sequence[dict[str, Any]]) -> None:
        """Remove surplus markers from `messages`: keep the first, which ends the shared prefix,
        and the last ones."""
        if not self.kept:
            return
        carriers = [
            place
            for message in messages
            for place in (message, *map(as_object, as_list(message["content"])))
            if _NAME in place
        ]
        for carrier in carriers[1 : len(carriers) - MOST + 1]:
            del carrier[_NAME]
            self._notes.add(f"messages.{_NAME}", "drop", _TOO_MANY)

    def _of(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """`cache_control` as the router accepts it; empty if there is none or none is accepted."""
        mark = as_object(block.get(_NAME)) if self.kept else {}
        if mark.get("type") != "ephemeral":
            return {}
        lifetime = {"ttl": mark["ttl"]} if mark.get("ttl") in _LIFETIMES else {}
        return {_NAME: {"type": "ephemeral", **lifetime}}
