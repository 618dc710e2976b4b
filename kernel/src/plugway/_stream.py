"""Streams on their way to the client: held until content is there, watched, closed, written once.

The rules are those of `docs/errors.md`: nothing is sent before the first content event but pings;
after it a failure cuts the body; no end is sent that the backend did not send.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel

from plugway._emitter import Order
from plugway._errors import BackendProtocolError, BackendTimeout, Headers, StreamInterrupted
from plugway._events import PING, StreamEvent, interrupted, renamed
from plugway._json import as_object
from plugway._response import Close
from plugway._sse import MAX_EVENT_BYTES, Decoder, StreamScan

log = logging.getLogger("plugway.stream")

CLOSE_SECONDS: Final = 5.0
"""How long all clean-up of one exchange may take before it is abandoned."""

STREAM_HEADERS: Final[Headers] = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)


class Watched(Protocol):
    """A stream whose progress the kernel follows."""

    @property
    def finished(self) -> bool:
        """The backend really said that it is done."""
        ...

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of `message_start`, `message_delta` or `error`, as last seen."""
        ...


class RawRelay:
    """An upstream's bytes, followed but not parsed."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._held: list[bytes] = []
        self._scan = StreamScan()

    @property
    def finished(self) -> bool:
        """`message_stop` has passed."""
        return self._scan.finished

    @property
    def failed(self) -> bool:
        """An `error` event has passed."""
        return self._scan.failed

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of the last event of that name."""
        return self._scan.data(name)

    async def prime(self) -> None:
        """Read, and hold, up to the first content event.

        Raises:
            BackendError: the stream fails, or ends, before it.
        """
        scan, size = self._scan, 0
        while not scan.content:
            chunk = await anext(self._chunks, None)
            if chunk is not None:
                size += len(chunk)
                if size > MAX_EVENT_BYTES:
                    raise BackendProtocolError(f"no content within {MAX_EVENT_BYTES} bytes")
                self._held.append(chunk)
                scan.feed(chunk)
            if scan.failed and not scan.content:
                raise interrupted(scan.data("error"))
            if chunk is None:
                raise _ended_early(scan.started, any(self._held))

    def rename(self, model: str) -> None:
        """Have the `message_start` that is held name `model`; every other byte stays."""
        held = b"".join(self._held)
        for item in Decoder().feed(held):
            if item.type == "message_start":
                self._held = [held.replace(item.encode(), renamed(item, model).encode(), 1)]
                return

    def __aiter__(self) -> RawRelay:
        """The bytes, those held first."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        if self._held:
            return self._held.pop(0)
        chunk = await anext(self._chunks)
        self._scan.feed(chunk)
        return chunk


class EventRelay:
    """Events from a backend, checked for their order."""

    def __init__(self, events: AsyncIterable[StreamEvent]) -> None:
        self._events = aiter(events)
        self._held: list[StreamEvent] = []
        self._order = Order()
        self._data: dict[str, Mapping[str, Any]] = {}
        self.failed = False

    @property
    def finished(self) -> bool:
        """`message_stop` has passed."""
        return self._order.ended

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of the last event of that name."""
        return self._data.get(name, {})

    async def prime(self) -> None:
        """Read, and hold, up to the first content event. Raises as `RawRelay.prime` does."""
        while True:
            item = await anext(self._events, None)
            if item is None:
                raise _ended_early("message_start" in self._data, bool(self._held))
            self._note(item)
            if self.failed:
                raise interrupted(item.data)
            self._held.append(item)
            if item.type in {"content_block_start", "message_delta"}:
                return

    def rename(self, model: str) -> None:
        """Have the `message_start` that is held name `model`."""
        self._held = [
            renamed(item, model) if item.type == "message_start" else item for item in self._held
        ]

    def __aiter__(self) -> EventRelay:
        """The events, those held first."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        if self._held:
            return self._held.pop(0)
        item = await anext(self._events)
        self._note(item)
        return item

    async def aclose(self) -> None:
        """Nothing: the reply that owns the events is closed by the kernel."""

    def _note(self, item: StreamEvent) -> None:
        self._order.check(item)
        if item.type in {"message_start", "message_delta", "error"}:
            self._data[item.type] = item.data
            self.failed = self.failed or item.type == "error"


def _ended_early(started: bool, any_bytes: bool) -> Exception:
    if started or not any_bytes:
        return StreamInterrupted("the stream ended before its first content")
    return BackendProtocolError("the answer is not an Anthropic event stream (no `event:` lines)")


class Resources:
    """What an exchange holds open; closed in reverse order of opening, shielded and bounded."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: list[Close] = []

    def add(self, close: Close) -> None:
        """Have `close` called at the end."""
        self._open.append(close)

    async def aclose(self) -> None:
        """Close everything; a failure is logged and does not keep the rest open."""
        if not self._open:
            return
        with anyio.move_on_after(CLOSE_SECONDS, shield=True) as scope:
            while self._open:
                close = self._open.pop()
                try:
                    await close()
                except Exception:
                    log.exception("closing a stream failed")
        if scope.cancelled_caught:
            log.error("closing a stream took more than %s s; abandoned", CLOSE_SECONDS)


class Clock:
    """One timer for an exchange: pings while all is silent, and the limits on silence.

    It costs one callback every few seconds and one assignment per piece of the stream.
    """

    def __init__(
        self,
        scope: anyio.CancelScope,
        ping: Callable[[], Coroutine[None, None, None]],
        *,
        ping_seconds: float,
        idle_seconds: float,
        stalled_seconds: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = scope
        self._ping = ping
        self._every = ping_seconds
        self._idle = idle_seconds
        self._stalled = stalled_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._pinging: asyncio.Task[None] | None = None
        now = self._loop.time()
        self.heard = now
        """When the backend was last heard; set to `now()` by the reader."""
        self.written = now
        """When the last bytes went to the client."""
        self.writing = False
        """Bytes are on their way to a client that does not take them."""
        self.streaming = False
        """The first content is out: silence of the backend counts from here."""
        self.verdict = ""
        """Why the clock ended the exchange, if it did."""
        self.client_stalled = False
        """It did because of the client."""

    def now(self) -> float:
        """The loop's time in seconds."""
        return self._loop.time()

    def start(self) -> None:
        """Begin to tick; a limit that passes cancels the scope."""
        self._timer = self._loop.call_later(self._every, self._tick)

    def stop(self) -> None:
        """Never tick again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pinging is not None:
            self._pinging.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        if self.writing and now - self.written >= self._stalled:
            self.client_stalled = True
            self._end(f"the client took nothing for {self._stalled:g} s")
            return
        if self.streaming and not self.writing and now - self.heard >= self._idle:
            self._end(f"the backend was silent for {self._idle:g} s")
            return
        quiet = now - self.written
        if quiet >= self._every and not self.writing:
            self._pinging = self._loop.create_task(self._ping())
            quiet = 0.0
        due = self._every - quiet
        if self.streaming:
            due = min(due, self._idle - (now - self.heard))
        self._timer = self._loop.call_later(max(0.01, due), self._tick)

    def _end(self, verdict: str) -> None:
        self.verdict = verdict
        self._scope.cancel()


Send = Callable[[Any], Any]


class Responder:
    """The one writer of an answer: a whole one, or a stream that may begin with pings.

    `state` goes from `new` to `warm` (200 and pings are out) to `streaming`, and ends at `done`.
    """

    def __init__(self, send: Send, cut: Callable[[], None], headers: Callable[[], Headers]) -> None:
        """`headers` gives the lines that every answer carries, when its head is written."""
        self._send = send
        self._cut = cut
        self._headers = headers
        self.state: str = "new"
        self.status = 0
        self.clock: Clock | None = None
        self._at_boundary = True

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """An answer in one piece."""
        length = ("content-length", str(len(body)))
        await self._head(status, _merged(self._headers(), (*headers, length)))
        self.state = "done"
        await self._send({"type": "http.response.body", "body": body})

    async def ping(self) -> None:
        """A `ping` where one may stand; begins the stream if nothing was sent yet."""
        if self.state == "new":
            await self._head(200, _merged(self._headers(), STREAM_HEADERS))
            self.state = "warm"
        if self.state in {"warm", "streaming"} and self._at_boundary:
            await self._write(PING.encode())

    async def begin(self, headers: Headers) -> None:
        """The head of a stream; its own lines are lost where pings have gone out before."""
        if self.state == "new":
            kept = [h for h in headers if h[0] != "content-type" or "event-stream" in h[1]]
            await self._head(200, _merged((*self._headers(), *STREAM_HEADERS), tuple(kept)))
        self.state = "streaming"
        if self.clock is not None:
            self.clock.heard = self.clock.now()
            self.clock.streaming = True

    async def chunk(self, data: bytes) -> None:
        """Bytes of a stream, to the client before this returns."""
        if self.clock is not None:
            self.clock.heard = self.clock.now()
        self._at_boundary = data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
        await self._write(data)

    async def end(self) -> None:
        """The real end of a stream."""
        self.state = "done"
        await self._send({"type": "http.response.body", "body": b""})

    def cut(self) -> None:
        """Break the stream off so that the client can tell."""
        self.state = "done"
        self._cut()

    async def _head(self, status: int, headers: Headers) -> None:
        self.state = "head"
        self.status = status
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def _write(self, data: bytes) -> None:
        clock = self.clock
        if clock is not None:
            clock.writing = True
            clock.written = clock.now()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        if clock is not None:
            clock.writing = False


def _merged(first: Headers, last: Headers) -> Headers:
    """Lines of both, the last line of a name winning."""
    return tuple(dict([*first, *last]).items())


async def write_raw(relay: RawRelay, responder: Responder) -> None:
    """Relay bytes. Raises `StreamInterrupted` where they stop before the real end."""
    async for chunk in relay:
        await responder.chunk(chunk)
    if not (relay.finished or relay.failed):
        raise StreamInterrupted("the upstream ended its stream without `message_stop`")


async def write_events(events: AsyncIterable[StreamEvent], responder: Responder) -> None:
    """Write events, checked once more where a plugin's layer made them."""
    order = Order()
    async for item in events:
        if item.type == "error":
            raise interrupted(as_object(item.data))
        order.check(item)
        await responder.chunk(item.encode())
        await anyio.lowlevel.checkpoint()
        if order.ended:
            return
    raise StreamInterrupted("the stream ended without `message_stop`")


def timeout_of(clock: Clock) -> BackendTimeout:
    """The failure that a clock's verdict stands for."""
    return BackendTimeout(clock.verdict)
