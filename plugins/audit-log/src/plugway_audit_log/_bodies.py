"""Keeps the request and the reply of an exchange, for `bodies: true`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from plugway import EventStream, MessagesRequest, PlugwayError, Reply, StreamEvent, collected


class Bodies:
    """What was sent and returned in one exchange, up to so many bytes each."""

    def __init__(self, request: MessagesRequest, most: int) -> None:
        self._request = request
        self._most = most
        self._reply: Reply | None = None
        self._events: list[StreamEvent] = []
        self._size = 0
        self._streamed = False

    def keep(self, reply: Reply) -> None:
        """Keep a whole reply."""
        self._reply = reply

    def follow(self, stream: EventStream) -> EventStream:
        """The stream, whose events are kept."""
        self._streamed = True
        return _Followed(stream, self)

    def add(self, item: StreamEvent) -> None:
        """Keep an event."""
        if self._size <= self._most:
            self._size += len(item.encode())
            self._events.append(item)

    def members(self) -> Mapping[str, Any]:
        """The members of the record."""
        raw = self._request.raw
        found: dict[str, Any] = {"request": _cut(raw, self._most)}
        if len(raw) > self._most:
            found["request_bytes"] = len(raw)
        if self._streamed:
            found |= self._stream_members()
        elif self._reply is not None and self._reply.body is not None:
            found["reply"] = _cut(self._reply.body, self._most)
            if len(self._reply.body) > self._most:
                found["reply_bytes"] = len(self._reply.body)
        return found

    def _stream_members(self) -> dict[str, Any]:
        """The message of a stream, or the events of one that is not complete."""
        if self._size <= self._most:
            try:
                return {"reply": collected(self._events)}
            except (PlugwayError, KeyError, TypeError):
                pass
        data = b"".join(item.encode() for item in self._events)
        return {"reply": _cut(data, self._most), "reply_incomplete": True}


class _Followed:
    def __init__(self, inner: EventStream, bodies: Bodies) -> None:
        self._events: AsyncIterator[StreamEvent] = aiter(inner)
        self._bodies = bodies

    def __aiter__(self) -> _Followed:
        return self

    async def __anext__(self) -> StreamEvent:
        item = await anext(self._events)
        self._bodies.add(item)
        return item

    async def aclose(self) -> None:
        """Nothing: the kernel closes the stream inside."""


def _cut(data: bytes, most: int) -> str:
    return data[:most].decode("utf-8", "replace")
