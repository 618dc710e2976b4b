"""The exchanges that run now: who waits for what, and how much has been written.

Output is counted only while somebody looks (`WATCHED_SECONDS`): otherwise no stream has a layer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from plugway import (
    Attempt,
    Exchange,
    MessagesRequest,
    Reply,
    StreamEvent,
    as_object,
    new_id,
)
from plugway_dashboard._plan import shape_of

MOST_RUNNING: Final = 2000
MOST_UNSAVED: Final = 10_000
SAVED_AT_ONCE: Final = 200
WATCHED_SECONDS: Final = 30.0
"""Time after a look in which the output of new streams is counted."""
_ENVELOPE: Final = 115
"""Bytes of a `content_block_delta` event besides its text."""
_DELTA: Final = b"event: content_block_delta\n"


class Running:
    """One exchange while it runs."""

    def __init__(
        self, exchange: Exchange, *, short: bool, request: MessagesRequest | None = None
    ) -> None:
        """`short`: the client gets a whole reply, so that its first content is also its last."""
        self.exchange = exchange
        self.short = short
        self.request = request
        """As the client sent it."""
        self.attempt: Attempt | None = None
        """The attempt that is being made or answers; None between attempts."""
        self.since = exchange.started
        """When the attempt began, or else when waiting for the next one did (monotonic)."""
        self.first: float | None = None
        """When the first content of the attempt arrived (monotonic)."""
        self.wrote: int | None = None
        """Characters of the reply, roughly; None if they are not counted."""
        self.reports = 0
        """How many times the log said what it waits for."""

    @cached_property
    def prompt(self) -> int | None:
        """Tokens of the prompt by its size; None for one with images, of another API, or so large
        that looking at it takes long."""
        request = self.request
        shape = shape_of(request) if request and not request.heavy else None
        return shape["tokens"] if shape and not shape["images"] else None

    def begin(self, attempt: Attempt) -> None:
        """An attempt begins."""
        self.attempt, self.since = attempt, time.monotonic()
        self.first = self.wrote = None

    def fail(self) -> None:
        """The attempt has failed."""
        self.attempt, self.since = None, time.monotonic()

    def answer(self, reply: Reply, *, counted: bool) -> Reply:
        """The attempt has its first content; returns the reply, which counts what passes."""
        self.first = time.monotonic()
        if not counted or reply.dialect:
            return reply
        if reply.chunks is not None:
            self.wrote = 0
            return reply.replace(chunks=_CountedBytes(reply.chunks, self))
        if reply.events is not None:
            self.wrote = 0
            return reply.replace(events=_CountedEvents(reply.events, self))
        return reply

    def add(self, characters: int) -> None:
        """Count characters of the reply."""
        self.wrote = (self.wrote or 0) + characters


class Book:
    """What runs and what ended; a reload passes it on to the next instance of the plugin."""

    def __init__(self, remember: int) -> None:
        self.running: dict[str, Running] = {}
        self.kept: deque[Mapping[str, Any]] = deque(maxlen=remember)
        self.unsaved: deque[Mapping[str, Any]] | None = None
        """Those that are not in the history yet; None if there is none."""
        self.id = new_id("book")
        """Another one after a restart, which loses what is in memory."""
        self.number = 0
        """Number of the exchange that ended last: the time, so that it does not tell a caller how
        many others there were."""
        self._looked = -WATCHED_SECONDS

    @property
    def is_watched(self) -> bool:
        """Whether somebody has looked lately."""
        return time.monotonic() - self._looked < WATCHED_SECONDS

    def look(self) -> None:
        """Somebody looks."""
        self._looked = time.monotonic()

    def begin(
        self, exchange: Exchange, *, short: bool, request: MessagesRequest | None = None
    ) -> None:
        """An exchange begins; if too many run, it is not shown until it ends."""
        if len(self.running) < MOST_RUNNING:
            self.running[exchange.id] = Running(exchange, short=short, request=request)

    def end(self, exchange: Exchange, data: Mapping[str, Any]) -> None:
        """It has ended: keep its data."""
        self.running.pop(exchange.id, None)
        self.number = max(self.number + 1, time.time_ns() // 1000)
        self.kept.append({**data, "number": self.number})
        if self.unsaved is not None:
            self.unsaved.append(self.kept[-1])

    def restore(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Begin with what an earlier run of the gateway kept, the oldest first."""
        for item in items:
            self.number = max(self.number + 1, item["row"])
            self.kept.append({**item, "number": self.number})

    def keep_unsaved(self, wanted: bool) -> None:
        """Whether there is a history to write to."""
        if not wanted:
            self.unsaved = None
        elif self.unsaved is None:
            self.unsaved = deque(maxlen=MOST_UNSAVED)

    def take_unsaved(self) -> list[Mapping[str, Any]]:
        """What has to be written now, the oldest first; there may be more."""
        unsaved = self.unsaved or deque[Mapping[str, Any]]()
        return [unsaved.popleft() for _ in range(min(len(unsaved), SAVED_AT_ONCE))]

    def put_back(self, items: Sequence[Mapping[str, Any]]) -> None:
        """They could not be written, and will be tried again; the oldest are dropped first."""
        if self.unsaved is not None:
            self.unsaved = deque([*items, *self.unsaved], maxlen=MOST_UNSAVED)

    def resize(self, remember: int) -> None:
        """Keep another number of exchanges."""
        self.kept = deque(self.kept, maxlen=remember)


class _CountedBytes:
    """Chunks of an Anthropic event stream, unchanged."""

    __slots__ = ("_chunks", "_running")

    def __init__(self, chunks: AsyncIterator[bytes], running: Running) -> None:
        self._chunks = chunks
        self._running = running

    def __aiter__(self) -> _CountedBytes:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        if (start := chunk.find(_DELTA)) >= 0:
            deltas = chunk.count(_DELTA, start)
            self._running.add(max(0, len(chunk) - start - deltas * _ENVELOPE))
        return chunk


class _CountedEvents:
    """Events of a reply, unchanged."""

    __slots__ = ("_events", "_running")

    def __init__(self, events: AsyncIterable[StreamEvent], running: Running) -> None:
        self._events = aiter(events)
        self._running = running

    def __aiter__(self) -> _CountedEvents:
        return self

    @property
    def pending(self) -> bool:
        """Whether the next event is available without waiting."""
        return getattr(self._events, "pending", False) is True

    async def __anext__(self) -> StreamEvent:
        item = await anext(self._events)
        if item.type == "content_block_delta":
            delta = as_object(item.data.get("delta"))
            kind = str(delta.get("type", "")).removesuffix("_delta")
            said = delta.get("partial_json" if kind == "input_json" else kind)
            self._running.add(len(said) if isinstance(said, str) else 0)
        return item
