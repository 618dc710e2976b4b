"""Adds the first event to streams of the Messages API that lack it, which clients cannot read.

llama-server omits `message_start` if its first token is half a character
(`n_decoded == 1` in `to_json_anthropic` of its `server-task.cpp`; seen with build 0.5.0).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from plugway import Emitter
from plugway_upstream_errors import Resumed

_NONE: Final = {"input_tokens": 0, "output_tokens": 0}
"""The last event has the real numbers."""


def with_head(chunks: Resumed, model: str) -> AsyncIterator[bytes]:
    """The chunks, preceded by a `message_start` if they start with content."""
    begun = chunks.beginning
    if b"message_start" not in begun and b"content_block_start" in begun:
        head = b"".join(event.encode() for event in Emitter(model=model).start(_NONE))
        chunks.put_before(head)
    return chunks
