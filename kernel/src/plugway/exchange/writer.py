"""Writes replies to the client: the channel, the writer, the clock that watches it, and resources.

The rules of `docs/errors.md` apply: before the first content event only pings are sent; after it a
failure cuts the body; the end is sent only if the backend sent it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import anyio
from starlette.types import Receive, Scope, Send

from plugway.plugins.contain import is_defect
from plugway.types.response import Close
from plugway.upstream.lines import to_client
from plugway_http.cancel import Cancellable
from plugway_log import clean_reply
from plugway_wire.errors import BackendTimeout, Headers, StreamInterrupted
from plugway_wire.events import PING


class Channel(Protocol):
    """The connection to the client of one exchange."""

    def whole_body(self) -> bytes | None:
        """The request body if all of it has arrived; None if it must be received."""
        ...

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete response. `headers` include the length."""
        ...

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Call `leave` if the client disconnects; returns a function that unregisters it."""
        ...

    def cut(self) -> None:
        """Abort the response so that the client notices."""
        ...


class AsgiChannel:
    """A channel over `receive` and `send` only."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    def whole_body(self) -> bytes | None:
        """None: it must be received."""
        return None

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete response in two ASGI messages."""
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        await self._send({"type": "http.response.body", "body": body})

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Call `leave` on `http.disconnect`."""

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            leave()

        return asyncio.get_running_loop().create_task(watch()).cancel

    def cut(self) -> None:
        """Raise `StreamInterrupted`: a server closes the connection when the application fails."""
        raise StreamInterrupted("the stream was aborted")


def channel_of(scope: Scope, receive: Receive, send: Send) -> Channel:
    """The channel that the server put into `scope`, or one over ASGI."""
    offered: dict[str, Any] = scope.get("extensions") or {}
    found: Channel | None = offered.get("plugway")
    return AsgiChannel(receive, send) if found is None else found


log = logging.getLogger("plugway.stream")

CLOSE_SECONDS: Final = 5.0
"""Time limit for the clean-up of one exchange."""

STREAM_HEADERS: Final[Headers] = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)

_PLAIN: Final = ("content-type", "text/plain; charset=utf-8")
_BODY_HEADERS: Final = frozenset(("content-type", "content-length"))
"""Headers that a stream does not take over from the upstream, except an event stream's type."""


class Resources:
    """Open resources of an exchange, closed in reverse order, shielded and within a time limit."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: list[Close] = []

    def add(self, close: Close) -> None:
        """Call `close` at the end."""
        self._open.append(close)

    async def aclose(self) -> None:
        """Close everything; failures are logged."""
        if not self._open:
            return
        with anyio.move_on_after(CLOSE_SECONDS, shield=True) as scope:
            while self._open:
                close = self._open.pop()
                try:
                    await close()
                except BaseException as error:
                    if not is_defect(error):
                        raise
                    log.exception("closing a stream failed")
        if scope.cancelled_caught:
            log.error("closing a stream took more than %s s; abandoned", CLOSE_SECONDS)


class Clock:
    """The timer of an exchange: sends pings while nothing else is sent, and enforces time limits.

    It costs one callback every few seconds and one assignment per piece of the stream.
    """

    def __init__(
        self,
        scope: Cancellable,
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
        """When the backend last sent something; the reader sets it to `now()`."""
        self.written = now
        """When the last bytes were sent to the client."""
        self.writing = False
        """A write to the client is pending."""
        self.streaming = False
        """The first content was sent: from here on the idle limit applies to the backend."""
        self.verdict = ""
        """Why the clock ended the exchange, if it did."""
        self.client_stalled = False
        """The clock ended the exchange because the client stopped reading."""

    def now(self) -> float:
        """The loop's time in seconds."""
        return self._loop.time()

    def start(self) -> None:
        """Start; if a time limit passes, the scope is cancelled."""
        self._timer = self._loop.call_later(self._every, self._tick)

    def stop(self) -> None:
        """Stop the timer and a pending ping."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pinging is not None:
            self._pinging.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        if self.writing and now - self.written >= self._stalled:
            self.client_stalled = True
            self._end(f"the client read nothing for {self._stalled:g} s")
            return
        if self.streaming and not self.writing and now - self.heard >= self._idle:
            self._end(f"the backend sent nothing for {self._idle:g} s")
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


class Responder:
    """Writes the reply: a whole one, or a stream that may begin with pings.

    `state` goes from `new` to `warm` (200 and pings were sent) to `streaming`, and ends at `done`.
    """

    def __init__(self, send: Send, channel: Channel, headers: Callable[[], Headers]) -> None:
        """`headers` returns the headers of every reply; it is called when the head is written."""
        self._send = send
        self._channel = channel
        self._headers = headers
        self.state: str = "new"
        self.status = 0
        self.clock: Clock | None = None
        self._at_boundary = True

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete reply."""
        body = clean_reply(body)
        own = (*self._headers(), ("content-length", str(len(body))))
        lines = _merged((_content_type(body), *to_client(headers)), own)
        self.status, self.state = status, "done"
        await self._channel.whole(status, lines, body)

    async def ping(self) -> None:
        """Send a `ping` if the stream is between events; begins the stream if necessary."""
        if self.state == "new":
            await self._head(200, _merged(self._headers(), STREAM_HEADERS))
            self.state = "warm"
        if self.state in {"warm", "streaming"} and self._at_boundary:
            await self._write(PING.encode())

    async def begin(self, headers: Headers) -> None:
        """Send the head of a stream; `headers` are ignored if a ping has begun the stream."""
        if self.state == "new":
            kept = [h for h in headers if h[0] not in _BODY_HEADERS or "event-stream" in h[1]]
            lines = _merged((*STREAM_HEADERS, *to_client(tuple(kept))), self._headers())
            await self._head(200, lines)
        self.state = "streaming"
        if self.clock is not None:
            self.clock.heard = self.clock.now()
            self.clock.streaming = True

    async def chunk(self, data: bytes) -> None:
        """Send bytes of a stream."""
        if self.clock is not None:
            self.clock.heard = self.clock.now()
        self._at_boundary = data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
        await self._write(data)

    async def end(self) -> None:
        """End a complete stream."""
        self.state = "done"
        await self._send({"type": "http.response.body", "body": b""})

    def cut(self) -> None:
        """Abort the stream so that the client notices."""
        self.state = "done"
        self._channel.cut()

    def release(self) -> None:
        """Drop references to the exchange, whose bodies would otherwise wait for the next GC."""
        self._headers = tuple
        self.clock = None

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


def _content_type(body: bytes) -> tuple[str, str]:
    """The default type of a body: JSON, or plain text, such as for an upstream's HTML page."""
    return _PLAIN if body[:1] not in (b"{", b"[") else ("content-type", "application/json")


def _merged(first: Headers, last: Headers) -> Headers:
    """Both sets of headers; the last header of a name wins."""
    return tuple(dict([*first, *last]).items())


def timeout_of(clock: Clock) -> BackendTimeout:
    """The clock's verdict as an exception."""
    return BackendTimeout(clock.verdict)
