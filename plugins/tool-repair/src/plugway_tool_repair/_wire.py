"""From the bytes of an event stream to events that keep their bytes.

What the events mean is `_mend`'s business.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator

from plugway import MAX_EVENT_BYTES, BackendProtocolError, Reply, StreamEvent

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")


class Decoder:
    """Cuts bytes into events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that are complete now.

        Raises:
            BackendProtocolError: an event is larger than any that makes sense.
        """
        buffer = self._buffer
        buffer += chunk
        found: list[StreamEvent] = []
        start = 0
        while match := _END.search(buffer, max(start, self._searched)):
            found.append(_event(bytes(buffer[start : match.end()])))
            start = self._searched = match.end()
        del buffer[:start]
        self._searched = max(0, len(buffer) - 3)
        if len(buffer) > MAX_EVENT_BYTES:
            raise BackendProtocolError(f"an event has more than {MAX_EVENT_BYTES} bytes")
        return found


def _event(raw: bytes) -> StreamEvent:
    name, data = "", list[bytes]()
    for line in raw.splitlines():
        key, _, value = line.partition(b":")
        if key == b"event":
            name = value.strip().decode("utf-8", "replace")
        elif key == b"data":
            data.append(value.removeprefix(b" "))
    return StreamEvent(name, raw=raw, payload=b"\n".join(data))


async def events_of(reply: Reply) -> AsyncIterator[StreamEvent]:
    """The events of a reply that is a stream."""
    if reply.events is not None:
        source: AsyncIterable[StreamEvent] = reply.events
        async for item in source:
            yield item
    elif reply.chunks is not None:
        decoder = Decoder()
        async for chunk in reply.chunks:
            for item in decoder.feed(chunk):
                yield item
