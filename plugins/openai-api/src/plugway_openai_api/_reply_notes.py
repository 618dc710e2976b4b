"""Notes what OpenAI's APIs cannot represent of a reply, and converts web sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway_translation import type_name

_READ: Final = ("text", "tool_use", "thinking", "redacted_thinking")
_REASONS: Final[Mapping[str, str]] = {
    "model_context_window_exceeded": "the window is full, reported as the reply's token limit",
    "pause_turn": "the model paused and would continue, reported as the end of its turn",
}
_WEB: Final = ("https://", "http://")


class ReplyNotes:
    """Collects notes for the receipt, each once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)

    def block(self, block: Mapping[str, Any]) -> None:
        """Note a block of a provider's server-side tool, which cannot be represented."""
        kind = block.get("type")
        if kind not in _READ:
            self._add(f"drop {type_name(kind)}: the client's API does not support it")

    def hidden(self) -> None:
        """Note encrypted thinking, which Chat cannot carry."""
        self._add("drop redacted_thinking: Chat does not support encrypted thinking")

    def reason(self, reason: object) -> None:
        """Note a stop reason that the API lacks."""
        if meaning := _REASONS.get(str(reason)):
            self._add(f"translate stop_reason: {meaning}")

    def source(self, citation: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return `url` and `title` of a web source; note any other source and return None."""
        for name in ("url", "source"):
            where = citation.get(name)
            if isinstance(where, str) and where.startswith(_WEB):
                return {"url": where, "title": citation.get("title") or where}
        self._add("drop citations: the client's API supports only web sources")
        return None
