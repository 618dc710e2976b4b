"""An upstream's stream as events, which asks once more where the first answer is of no use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import orjson

from plugway import (
    BackendError,
    BackendProtocolError,
    StreamEvent,
    StreamInterrupted,
    UpstreamResponse,
    as_object,
    breath,
)
from plugway_gemini._reader import Reader
from plugway_gemini._sse import DataDecoder
from plugway_translation import read_json

_LARGE: Final = 2**18
"""Bytes of a whole answer that is read in steps, between which the loop goes on."""

Again = Callable[[], Awaitable[UpstreamResponse]]
"""Asks once more, with simpler tools."""


class GeminiStream:
    """Owns the upstream's answer: `aclose` ends it at once."""

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
        """The events, in order."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event.

        Raises:
            BackendError: the answer is an error, or ends before its end.
        """
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            await self._more()
        return self._ready.pop(0)

    async def aclose(self) -> None:
        """Let go of the upstream."""
        await self._response.aclose()

    async def _more(self) -> None:
        try:
            chunk = await anext(self._chunks, b"")
        except StreamInterrupted:
            if not self._reader.ended:
                raise
            chunk = b""  # all has been said; only the end of the connection was rough
        if chunk:
            self._read(chunk)
        elif self._reader.useless and self._again is not None:
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
        """What came before a failure is still told: a finished call may be in it."""
        try:
            for answer in self._decoder.feed(chunk):
                self._ready += self._reader.feed(answer)
        except BackendError as error:
            self._failure = error


async def read_whole(response: UpstreamResponse, reader: Reader) -> list[StreamEvent]:
    """The events of an answer that comes at once, without its end."""
    try:
        raw = await response.read()
    finally:
        await response.aclose()
    await breath(len(raw) > _LARGE)
    try:
        answer = as_object(read_json(raw))
    except orjson.JSONDecodeError:
        answer = {}
    if not answer:
        told = raw[:200].decode("utf-8", "replace")
        record = "it returned 200 without a JSON object"
        raise BackendProtocolError(f"{record}: {told}", record=record)
    events = reader.feed(answer)
    await breath(len(raw) > _LARGE)
    return events
