"""Reads an upstream's stream as events of the Messages API."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson

from plugway import BackendError, BackendProtocolError, StreamEvent, StreamInterrupted, as_object
from plugway_anthropic_wire import Payloads
from plugway_openai_wire._api import Reader
from plugway_translation import SurrogateJoiner, read_json

DONE: Final = b"[DONE]"
"""The data of the last event in a Chat Completions stream."""
_DRAIN_SECONDS: Final = 0.25
"""How long to wait for the end of a body after its end marker: a connection can be reused only
when its response was read completely."""


class TranslatedEvents:
    """Yields the events. The kernel closes the reply that owns the chunks."""

    def __init__(self, chunks: AsyncIterator[bytes], reader: Reader) -> None:
        self._chunks = chunks
        self._reader = reader
        self._payloads = Payloads()
        self._surrogates = SurrogateJoiner()
        self._waiting: deque[bytes] = deque()
        self._ready: deque[StreamEvent] = deque()
        self._over = False
        self._failure: BackendError | None = None

    @property
    def pending(self) -> bool:
        """Whether the next event is available without waiting: the kernel batches such events."""
        try:
            while self._waiting and not self._ready and not self._over:
                self._take()
        except BackendError as error:  # raised after the events before it
            self._failure = error
        return bool(self._ready)

    def __aiter__(self) -> TranslatedEvents:
        """Iterate over the events in order."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event. Raises `StreamInterrupted` if the response breaks off."""
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._over:
                await self._drain()
                raise StopAsyncIteration
            if self._waiting:
                self._take()
            else:
                await self._more()
                self._over = self._over or self._reader.ended
        return self._ready.popleft()

    def _take(self) -> None:
        self._read(self._waiting.popleft())
        self._over = self._over or self._reader.ended

    async def _more(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is not None:
            self._waiting += self._payloads.feed(chunk)
            return
        for payload in self._payloads.flush():
            if is_complete(payload):
                self._read(payload)
        if not self._reader.ended:
            self._over = True
            self._end()

    def _read(self, payload: bytes) -> None:
        if payload == DONE:
            self._end()
        elif payload.strip():
            try:
                values = self._surrogates.feed(payload)
            except orjson.JSONDecodeError as error:
                raise _no_json(payload, error) from None
            for value in values:
                self._ready += self._reader.feed(_object(value))

    def _end(self) -> None:
        for value in self._surrogates.flush():
            self._ready += self._reader.feed(as_object(value))
        self._ready += self._reader.end()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await anext(self._chunks, None) is not None:
                    pass
        except (TimeoutError, StreamInterrupted):
            pass  # the response is complete; only the connection is not reused

    async def aclose(self) -> None:
        """Do nothing: the kernel closes the reply that owns the chunks."""


class EventList:
    """Yields the events of a non-streaming response."""

    def __init__(self, events: list[StreamEvent]) -> None:
        self._events = deque(events)

    def __aiter__(self) -> EventList:
        """Iterate over the events in order."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        if not self._events:
            raise StopAsyncIteration
        return self._events.popleft()

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


def cuts_a_call(events: Sequence[StreamEvent]) -> bool:
    """Whether an incomplete call was left out of the reply (`Emitter.cut_call`)."""
    return any(item.type == "ping" and "cut_call" in item.data for item in events)


def is_complete(payload: bytes) -> bool:
    """Whether a stream's last payload is complete rather than truncated."""
    if payload == DONE:
        return True
    try:
        return isinstance(read_json(payload), dict)
    except orjson.JSONDecodeError:
        return False


def parsed(payload: bytes) -> dict[str, Any]:
    """Parse the object in an event or a body. Raises `BackendProtocolError` if it is none."""
    try:
        return _object(read_json(payload))
    except orjson.JSONDecodeError as error:
        raise _no_json(payload, error) from None


def _no_json(payload: bytes, error: orjson.JSONDecodeError) -> BackendProtocolError:
    start = payload[:200].decode("utf-8", "replace")
    record = f"it sent invalid JSON ({error.msg})"
    return BackendProtocolError(f"{record}: {start}", record=record)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BackendProtocolError(f"it sent {type(value).__name__} instead of an object")
    return as_object(value)
