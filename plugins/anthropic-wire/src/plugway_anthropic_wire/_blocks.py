"""Puts the events of a Messages API stream in order where a server mixes them up.

LiteLLM in front of a model that thinks sends two `message_start`, and thinking inside a text block,
which clients reject (BerriAI/litellm#32357, #33224). Streams in order keep their bytes, and nothing
is held back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson

from plugway import as_object
from plugway_anthropic_wire._characters import encoded, events_in, payload_of
from plugway_upstream_errors import WrappedChunks

_STARTS: Final = (b"message_start", b"content_block_start")
_KINDS: Final = {"text_delta": "text", "thinking_delta": "thinking"}
"""Type of a delta, and of the block that it belongs to."""
_STRANGE: Final = {"text": b"thinking_delta", "thinking": b"text_delta"}
"""Type of a block, and of a delta that does not belong to it."""
_EMPTY: Final[Mapping[str, Mapping[str, str]]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class OrderedBlocks(WrappedChunks):
    """The chunks of `JoinedCharacters`, whose events are complete, in order."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        super().__init__(chunks)
        self._started = False
        self._kind = ""
        """Type of the open block."""
        self._index = 0
        """Index of the open block as the server counts."""
        self._added = 0
        """Blocks that were added before."""

    def __aiter__(self) -> OrderedBlocks:
        """Iterate over the chunks in order."""
        return self

    async def __anext__(self) -> bytes:
        """The next events."""
        while (chunk := await anext(self._chunks, None)) is not None:
            if ordered := self._ordered(chunk):
                return ordered
        raise StopAsyncIteration

    def _ordered(self, chunk: bytes) -> bytes:
        strange = self._kind in _STRANGE and _STRANGE[self._kind] in chunk
        begins = any(start in chunk for start in _STARTS)
        if not (strange or begins or self._added):
            return chunk
        events, left = events_in(chunk)
        return b"".join((*map(self._event, events), left))

    def _event(self, event: bytes) -> bytes:
        try:
            data = as_object(orjson.loads(payload_of(event)))
        except orjson.JSONDecodeError:
            return event  # the parser of the event reports the error
        match data.get("type"):
            case "message_start":
                again, self._started = self._started, True
                return b"" if again else event
            case "content_block_start":
                index = data.get("index")
                self._index = index if isinstance(index, int) else self._index
                self._kind = str(as_object(data.get("content_block")).get("type"))
            case "content_block_delta":
                kind = _KINDS.get(str(as_object(data.get("delta")).get("type")), self._kind)
                if kind != self._kind and self._kind in _EMPTY:
                    return self._turn(kind) + self._counted(event, data)
            case _:
                pass
        return self._counted(event, data)

    def _turn(self, kind: str) -> bytes:
        """Events that close the open block and start one of this type."""
        index = self._index + self._added
        self._kind, self._added = kind, self._added + 1
        start = {"index": index + 1, "content_block": _EMPTY[kind]}
        stop = encoded({"type": "content_block_stop", "index": index})
        return stop + encoded({"type": "content_block_start", **start})

    def _counted(self, event: bytes, data: Mapping[str, Any]) -> bytes:
        """The event with the index that the client counts."""
        index = data.get("index")
        if not self._added or not isinstance(index, int):
            return event
        return encoded({**data, "index": index + self._added})
