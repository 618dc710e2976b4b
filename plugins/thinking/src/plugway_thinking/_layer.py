"""Signs the thinking in a stream as it passes. Nothing is held back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from plugway import EventStream, StreamEvent, as_object, event

Sign = Callable[[object], str]


class SignedStream:
    """Wraps a stream: each thinking block ends with one signature, which wraps the provider's.

    Events of other blocks pass unchanged; only block starts are inspected.
    """

    def __init__(self, stream: EventStream, sign: Sign) -> None:
        self._events = _signed(stream, sign)

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """Iterate over the events in order."""
        return self._events

    async def aclose(self) -> None:
        """Close the layer; the kernel closes the wrapped stream."""
        await self._events.aclose()


async def _signed(stream: EventStream, sign: Sign) -> AsyncGenerator[StreamEvent]:
    block: Any = None
    """Index of the open thinking block."""
    mark: object = ""
    async for item in stream:
        if item.type == "content_block_start":
            item, is_open, mark = _start(item, sign)
            block = item.data.get("index") if is_open else None
        elif block is not None and item.type == "content_block_delta":
            delta = as_object(item.data.get("delta"))
            if delta.get("type") == "signature_delta" and item.data.get("index") == block:
                mark = delta.get("signature")
                continue
        elif block is not None and item.type == "content_block_stop":
            yield _signature(block, sign(mark))
            block = None
        yield item


def _start(item: StreamEvent, sign: Sign) -> tuple[StreamEvent, bool, object]:
    """Start a block; return the event, whether thinking deltas follow, and its signature."""
    found = as_object(item.data.get("content_block"))
    match found.get("type"):
        case "thinking":
            mark = found.get("signature")
            if mark:
                item = _with_block(item, {**found, "signature": ""})
            return item, True, mark
        case "redacted_thinking":
            return _with_block(item, {**found, "data": sign(found.get("data"))}), False, ""
        case _:
            return item, False, ""


def _with_block(item: StreamEvent, block: dict[str, Any]) -> StreamEvent:
    return StreamEvent(item.type, {**item.data, "content_block": block})


def _signature(index: Any, text: str) -> StreamEvent:
    delta = {"type": "signature_delta", "signature": text}
    return event("content_block_delta", index=index, delta=delta)
