"""An upstream's stream read as events of the Messages API."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import orjson

from plugway import BackendError, BackendProtocolError, StreamEvent, StreamInterrupted, as_object
from plugway_openai_wire._api import Api, Reader
from plugway_openai_wire._demand import Demand
from plugway_openai_wire._sse import DONE, Payloads
from plugway_translation import Halves, read_json

_DRAIN_SECONDS: Final = 0.25
"""How long the end of a body is waited for after its end mark: a connection whose answer was read
to the end can be used again."""


class TranslatedEvents:
    """The events, one by one. The reply that owns the chunks is closed by the kernel."""

    def __init__(self, chunks: AsyncIterator[bytes], reader: Reader) -> None:
        self._chunks = chunks
        self._reader = reader
        self._payloads = Payloads()
        self._halves = Halves()
        self._waiting: deque[bytes] = deque()
        self._ready: deque[StreamEvent] = deque()
        self._over = False
        self._failure: BackendError | None = None

    @property
    def pending(self) -> bool:
        """The next event is here: the kernel sends what is here in one piece."""
        try:
            while self._waiting and not self._ready and not self._over:
                self._take()
        except BackendError as error:  # told when it is its turn
            self._failure = error
        return bool(self._ready)

    def __aiter__(self) -> TranslatedEvents:
        """The events, in order."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event. Raises `StreamInterrupted` where the answer stops before its end."""
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
            if is_whole(payload):
                self._read(payload)
        if not self._reader.ended:
            self._over = True
            self._end()

    def _read(self, payload: bytes) -> None:
        if payload == DONE:
            self._end()
        elif payload.strip():
            try:
                values = self._halves.feed(payload)
            except orjson.JSONDecodeError as error:
                raise _no_json(payload, error) from None
            for value in values:
                self._ready += self._reader.feed(_object(value))

    def _end(self) -> None:
        for value in self._halves.flush():
            self._ready += self._reader.feed(as_object(value))
        self._ready += self._reader.end()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await anext(self._chunks, None) is not None:
                    pass
        except (TimeoutError, StreamInterrupted):
            pass  # the answer is whole; only the connection is not kept

    async def aclose(self) -> None:
        """Nothing: the kernel closes the reply that owns the chunks."""


class MadeEvents:
    """The events of an answer that came in one piece."""

    def __init__(self, events: list[StreamEvent]) -> None:
        self._events = deque(events)

    def __aiter__(self) -> MadeEvents:
        """The events, in order."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        if not self._events:
            raise StopAsyncIteration
        return self._events.popleft()

    async def aclose(self) -> None:
        """Nothing is held."""


class RawChunks:
    """A stream's bytes as they are, for a client that speaks the same API.

    Raises `StreamInterrupted` where they stop before the API's end mark.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], api: Api, demand: Demand | None = None
    ) -> None:
        """`demand` is shown what passes."""
        self._chunks = chunks
        self._api = api
        self._demand = demand
        self._payloads = Payloads()
        self._ended = False
        self._telling = b""

    def __aiter__(self) -> RawChunks:
        """The pieces, in order."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        chunk = await anext(self._chunks, None)
        if chunk is None:
            self._note(self._payloads.flush())
            if not self._ended:
                raise StreamInterrupted("the upstream ended its stream without an end marker")
            raise StopAsyncIteration
        self._note(self._payloads.feed(chunk))
        return chunk

    def usage(self) -> Mapping[str, int]:
        """What the last event said that speaks of usage; only that one is parsed."""
        return usage_in(self._telling, self._api)

    def _note(self, payloads: list[bytes]) -> None:
        for data in payloads:
            if b'"usage"' in data:
                self._telling = data
            if self._demand is not None:
                self._demand.feed(data)
            self._ended = self._ended or self._api.is_end(data)


def cuts_a_call(events: Sequence[StreamEvent]) -> bool:
    """Whether a call was left out of an answer because it was cut off (`Emitter.cut_call`)."""
    return any(item.type == "ping" and "cut_call" in item.data for item in events)


def usage_in(told: bytes, api: Api) -> Mapping[str, int]:
    """The Messages API's `usage` for an answer or an event of `api`; empty where it is no JSON."""
    try:
        return api.usage(as_object(orjson.loads(told)))
    except orjson.JSONDecodeError:
        return {}


def is_whole(payload: bytes) -> bool:
    """Whether a last payload, which nothing follows, is more than the half of one."""
    if payload == DONE:
        return True
    try:
        return isinstance(read_json(payload), dict)
    except orjson.JSONDecodeError:
        return False


def parsed(payload: bytes) -> dict[str, Any]:
    """The object in an event or a body. Raises `BackendProtocolError` where there is none."""
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
