"""Puts the events of a Messages API stream in order where a server mixes them up.

LiteLLM in front of a model that thinks sends two `message_start`, and thinking inside a text block,
which clients reject (BerriAI/litellm#32357, #33224). Streams in order keep their bytes, and nothing
is held back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from plugway import as_object
from plugway_anthropic_wire._characters import encoded, events_in, payload_of
from plugway_upstream_errors import WrappedChunks
from plugway_wire.bounds import is_deep
from plugway_wire.json import loaded

_STARTS: Final = (b"message_start", b"content_block_start")
_KINDS: Final = {"text_delta": "text", "thinking_delta": "thinking"}
"""Type of a delta, and of the block that it belongs to."""
_STRANGE: Final = {
    "text": (b"thinking_delta", b"signature_delta"),
    "thinking": (b"text_delta",),
}
"""Type of a block, and of the deltas that do not belong to it."""
_EMPTY: Final[Mapping[str, Mapping[str, str]]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class OrderedBlocks(WrappedChunks):
    """The chunks of `JoinedCharacters`, whose events are complete, in order."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        super().__init__(chunks)
        self._started = False
        self._kinds: dict[int, str] = {}
        """Type of each block, by its index as the server counts."""
        self._index = 0
        """That of the block which was opened last."""
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

    @property
    def _kind(self) -> str:
        """Type of the block which was opened last."""
        return self._kinds.get(self._index, "")

    def _ordered(self, chunk: bytes) -> bytes:
        strange = any(kind in chunk for kind in _STRANGE.get(self._kind, ()))
        begins = any(start in chunk for start in _STARTS)
        if not (strange or begins or self._added):
            return chunk
        events, left = events_in(chunk)
        return b"".join((*map(self._event, events), left))

    def _event(self, event: bytes) -> bytes:
        payload = payload_of(event)
        if is_deep(payload) or not (data := loaded(payload)):
            return event  # the parser of the event reports the error
        match data.get("type"):
            case "message_start":
                again, self._started = self._started, True
                return b"" if again else event
            case "content_block_start":
                index = data.get("index")
                self._index = index if isinstance(index, int) else self._index
                self._kinds[self._index] = str(as_object(data.get("content_block")).get("type"))
            case "content_block_delta":
                index = data.get("index")
                known = isinstance(index, int)
                open_kind = self._kinds.get(index, self._kind) if known else self._kind
                delta = as_object(data.get("delta")).get("type")
                kind = _KINDS.get(str(delta), open_kind)
                if kind != open_kind and open_kind in _EMPTY:
                    return self._turn(kind) + self._counted(event, {**data, "index": self._index})
                if delta == "signature_delta" and open_kind == "text":
                    return b""  # its thinking has ended
            case _:
                pass
        return self._counted(event, data)

    def _turn(self, kind: str) -> bytes:
        """Events that close the open block and start one of this type."""
        index = self._index + self._added
        self._kinds[self._index], self._added = kind, self._added + 1
        start = {"index": index + 1, "content_block": _EMPTY[kind]}
        stop = encoded({"type": "content_block_stop", "index": index})
        return stop + encoded({"type": "content_block_start", **start})

    def _counted(self, event: bytes, data: Mapping[str, Any]) -> bytes:
        """The event with the index that the client counts."""
        index = data.get("index")
        if not self._added or not isinstance(index, int):
            return event
        return encoded({**data, "index": index + self._added})
