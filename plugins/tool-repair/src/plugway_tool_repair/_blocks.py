"""A block of a reply while it is read, and how to tell that it was cut off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson

from plugway import StreamEvent, as_object, event
from plugway_tool_repair._prose import Prose

CUT_SHORT: Final = frozenset(
    ("max_tokens", "model_context_window_exceeded", "refusal", "stop_sequence")
)
"""Reasons for which an answer stops in the middle: what is not closed then is not whole."""
LEFT_OUT: Final = (
    "(The answer was cut off by its token limit in the middle of a call of `{}`; nothing was run.)"
)


@dataclass(slots=True)
class Block:
    """A block of the source that is open."""

    start: StreamEvent
    kind: str
    prose: Prose | None = None
    parts: list[str] = field(default_factory=list[str])
    """Arguments of a call."""
    events: list[StreamEvent] = field(default_factory=list[StreamEvent])


def own_block() -> Block:
    """A block of text that is not the source's."""
    return Block(event("x", content_block={"type": "text", "text": ""}), "text")


def is_cut(item: StreamEvent) -> bool:
    """Whether an event says that the answer was cut off."""
    delta = as_object(item.data.get("delta")) if item.type == "message_delta" else {}
    return delta.get("stop_reason") in CUT_SHORT


def is_complete(block: Block) -> bool:
    """Whether the arguments of a call are a whole JSON object as they came."""
    text = "".join(block.parts)
    if not text.strip():
        return bool(as_object(block.start.data.get("content_block")).get("input"))
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
