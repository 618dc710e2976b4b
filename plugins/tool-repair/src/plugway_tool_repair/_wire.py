"""Convert the bytes of an event stream to events that keep their bytes.

See `_repairer` for what the events mean.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Final, TypeVar

import anyio
import anyio.lowlevel

from plugway import Attempt, BackendProtocolError, BackendTimeout, Reply, StreamEvent, as_object
from plugway_wire.gather import MAX_EVENT_BYTES

T = TypeVar("T")

PIECE: Final = 16 * 1024
"""Characters of a text, or bytes of an event, that are processed without yielding to the loop."""
EVENTS: Final = 64
"""The same, in events."""
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")


async def next_in_time(source: AsyncIterator[T], attempt: Attempt) -> T | None:
    """The next item, or None at the end. Raises `BackendTimeout` if nothing arrives in time."""
    seconds = attempt.first_event_seconds
    try:
        with anyio.fail_after(seconds):
            return await anext(source, None)
    except TimeoutError:
        raise BackendTimeout(f"`{attempt.target}` sent nothing for {seconds:g} s") from None


class Decoder:
    """Splits bytes into those of events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    @property
    def rest(self) -> bytes:
        """Bytes of an incomplete event."""
        return bytes(self._buffer)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete now, each with its end.

        Raises:
            BackendProtocolError: an event is larger than `MAX_EVENT_BYTES`.
        """
        buffer = self._buffer
        if not buffer and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return [part + b"\n\n" for part in chunk.split(b"\n\n")[:-1]]
        buffer += chunk
        found: list[bytes] = []
        start = 0
        while match := _END.search(buffer, max(start, self._searched)):
            found.append(bytes(buffer[start : match.end()]))
            start = self._searched = match.end()
        del buffer[:start]
        self._searched = max(0, len(buffer) - 3)
        if len(buffer) > MAX_EVENT_BYTES:
            raise BackendProtocolError(f"an event has more than {MAX_EVENT_BYTES} bytes")
        return found


def event_of(raw: bytes) -> StreamEvent:
    """The event that these bytes are."""
    name, data = "", list[bytes]()
    for line in raw.splitlines():
        key, _, value = line.partition(b":")
        if key == b"event":
            name = value.strip().decode("utf-8", "replace")
        elif key == b"data":
            data.append(value.removeprefix(b" "))
    return StreamEvent(name, raw=raw, payload=b"\n".join(data))


async def events_of(reply: Reply) -> AsyncIterator[StreamEvent]:
    """The events of a streamed reply; a long text is split, and between pieces and after some
    events the event loop runs."""
    since = 0
    async for item in _events(reply):
        pieces = _pieces(item)
        for piece in pieces:
            yield piece
            since += 1
            if len(pieces) > 1 or since == EVENTS:
                since = 0
                await anyio.lowlevel.checkpoint()


async def _events(reply: Reply) -> AsyncIterator[StreamEvent]:
    if reply.events is not None:
        source: AsyncIterable[StreamEvent] = reply.events
        async for item in source:
            yield item
    elif reply.chunks is not None:
        decoder = Decoder()
        async for chunk in reply.chunks:
            for raw in decoder.feed(chunk):
                yield event_of(raw)


def _pieces(item: StreamEvent) -> Sequence[StreamEvent]:
    if item.type != "content_block_delta" or (item.raw is not None and len(item.raw) <= PIECE):
        return (item,)
    text = as_object(item.data.get("delta")).get("text")
    if not isinstance(text, str) or len(text) <= PIECE:
        return (item,)
    deltas = (
        {**item.data["delta"], "text": text[i : i + PIECE]} for i in range(0, len(text), PIECE)
    )
    return [StreamEvent(item.type, {**item.data, "delta": delta}) for delta in deltas]
