"""Streams of the Messages API without their first event, which clients cannot read.

llama-server leaves `message_start` out where its first token is the half of a character
(`n_decoded == 1` in `to_json_anthropic` of its `server-task.cpp`; seen with build 0.5.0).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from plugway import Emitter
from plugway_upstream_errors import Resumed

_NONE: Final = {"input_tokens": 0, "output_tokens": 0}
"""The tokens of both are in the last event."""


def with_head(chunks: Resumed, model: str) -> AsyncIterator[bytes]:
    """The chunks, with a `message_start` before them where they begin with content."""
    begun = chunks.beginning
    if b"message_start" not in begun and b"content_block_start" in begun:
        head = b"".join(event.encode() for event in Emitter(model=model).start(_NONE))
        chunks.put_before(head)
    return chunks
