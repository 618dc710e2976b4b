"""What a plugin answers itself, as a message."""

from __future__ import annotations

from typing import Any

from plugway import MessagesRequest, new_id
from plugway_endpoints._needs import needs_of
from plugway_endpoints._state import Served


def message_of(request: MessagesRequest, text: str, last: Served | None) -> dict[str, Any]:
    """A reply without a model. Its usage is that of the conversation, because the client fills its
    meter and decides about compacting by the last usage it received."""
    tokens = last.prompt_tokens if last and last.prompt_tokens else needs_of(request).tokens
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": max(1, tokens), "output_tokens": max(1, len(text) // 4)},
    }
