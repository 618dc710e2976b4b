"""An upstream's stream as events, with one retry if the first response is useless."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import orjson

from plugway import (
    BackendError,
    BackendProtocolError,
    StreamEvent,
    StreamInterrupted,
    UpstreamResponse,
    as_object,
)
from plugway_gemini._reader import Reader
from plugway_gemini._sse import DataDecoder
from plugway_translation import read_json
from plugway_wire.bounds import breath

_LARGE: Final = 2**18
"""Bytes above which a complete response is read in steps that yield to the event loop."""

Again = Callable[[], Awaitable[UpstreamResponse]]
"""Sends the request again with simpler tools."""


class GeminiStream:
    """Owns the upstream's response; `aclose` closes it at once."""

    def __init__(self, response: UpstreamResponse, reader: Reader, again: Again) -> None:
        self._response = response
        self._chunks = response.chunks()
        self._decoder = DataDecoder()
        self._reader = reader
        self._again: Again | None = again
        self._ready: list[StreamEvent] = []
        self._over = False
        self._failure: BackendError | None = None

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """Iterate over the events in order."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event.

        Raises:
            BackendError: the response is an error, or breaks off.
        """
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            await self._more()
        return self._ready.pop(0)

    async def aclose(self) -> None:
        """Close the upstream's response."""
        await self._response.aclose()

    async def _more(self) -> None:
        try:
            chunk = await anext(self._chunks, b"")
        except StreamInterrupted:
            if not self._reader.ended:
                raise
            chunk = b""  # the reply is complete; only the connection ended abnormally
        if chunk:
            self._read(chunk)
            return
        self._reader.over()
        if self._reader.useless and self._again is not None:
            again, self._again = self._again, None
            await self._response.aclose()
            self._response = await again()
            self._chunks, self._decoder = self._response.chunks(), DataDecoder()
        else:
            for answer in self._decoder.flush():
                self._ready += self._reader.feed(answer)
            self._ready += self._reader.end()
            self._over = True

    def _read(self, chunk: bytes) -> None:
        """Read a chunk; events before a failure are kept, e.g. a complete call."""
        try:
            for answer in self._decoder.feed(chunk):
                self._ready += self._reader.feed(answer)
        except BackendError as error:
            self._failure = error


async def read_whole(response: UpstreamResponse, reader: Reader) -> list[StreamEvent]:
    """The events of a non-streaming response, without its end."""
    try:
        raw = await response.read()
    finally:
        await response.aclose()
    await breath(len(raw) > _LARGE)
    events = reader.feed(answer_in(raw))
    reader.over(whole=True)
    await breath(len(raw) > _LARGE)
    return events


def answer_in(raw: bytes) -> dict[str, Any]:
    """The object in a complete response. Raises `BackendProtocolError` if there is none."""
    try:
        answer = as_object(read_json(raw))
    except orjson.JSONDecodeError:
        answer = {}
    if not answer:
        start = raw[:200].decode("utf-8", "replace")
        record = "it returned 200 without a JSON object"
        raise BackendProtocolError(f"{record}: {start}", record=record)
    return answer
