"""One HTTP/1.1 connection to an upstream, with one request at a time.

`client/pool` chooses the connection of a request. A general client takes 40 % more CPU for a small
request (`bench/gateway.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Any, ClassVar, Final, cast

import anyio.lowlevel
import httptools

from plugway_http.client.errors import ClientError, ConnectionLost, Incomplete, InvalidResponse
from plugway_http.wire import Headers

MAX_HEAD_BYTES: Final = 64 * 1024
"""Largest head, and most consecutive bytes without body data, such as trailers."""
MAX_WAITING_BYTES: Final = 256 * 1024
"""Unread bytes of a body above which reading pauses."""
MAX_CHUNK_BYTES: Final = 32 * 1024
"""Default size of a chunk that is read at once."""
MAX_SECONDS: Final = 0.002
"""Time after which `read` yields to the event loop even if data is available."""
NO_RESPONSE: Final = (
    "closed the connection before it responded - check the server's log; an HTTPS port needs "
    "`https://` in `base_url`"
)
MAX_CACHED_NAME: Final = 64
"""Length of the longest header name that is cached."""


class ConnectionResponse:
    """The response to one request: its head, and its body as it arrives."""

    __slots__ = (
        *("_connection", "_loop", "_pieces", "_since", "_size", "_waiter"),
        *("begun", "done", "error", "lines", "paused", "status"),
    )

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self._since = monotonic()
        """When the event loop last ran."""
        self.paused = False
        """Reading is paused because enough data is waiting."""
        self._waiter: asyncio.Future[None] | None = None
        self.begun = False
        """The first byte has arrived."""
        self.done = False
        """Everything has arrived."""
        self.error: ClientError | None = None
        """Why nothing more will arrive."""
        self.status = 0
        """0 until the head has arrived."""
        self.lines: Headers = ()

    async def wait_for_head(self) -> ConnectionResponse:
        """Wait for the head and return this response; the connection is closed on failure.

        Raises `ConnectionLost` or `InvalidResponse`.
        """
        try:
            while not self.status:
                if self.error is not None:
                    raise self.error
                await self._wait()
        except BaseException:
            self.close()
            raise
        return self

    async def read(self, most: int = MAX_CHUNK_BYTES) -> bytes:
        """Wait for body data and return up to `most` bytes of it; empty at the end.

        Raises `Incomplete`, after everything that arrived before the failure was read.
        """
        if self._pieces and monotonic() - self._since > MAX_SECONDS:
            await anyio.lowlevel.checkpoint()  # a fast upstream must not block the loop
            self._since = monotonic()
        while not self._pieces:
            if self.done:
                return b""
            if self.error is not None:
                raise self.error
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        data, rest = data[:most], data[most:]
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        if self.paused and not rest:
            self.paused = False
            self._connection.resume(self)
        return data

    def close(self) -> None:
        """Release it; if it is unfinished, its connection is closed."""
        if not self.done:
            self._connection.abort()

    def add(self, data: bytes) -> bool:
        """Add a piece of the body; returns whether reading must now pause."""
        self._pieces.append(data)
        self._size += len(data)
        before, self.paused = self.paused, self._size > MAX_WAITING_BYTES
        return self.paused and not before

    def notify(self) -> None:
        """Wake the reader."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._since = monotonic()


class Connection(asyncio.Protocol):
    """One connection. It calls `idle` when it can be reused, and `lost` when it is closed."""

    count: ClassVar[int] = 0
    """The number of open connections of this process."""

    def __init__(
        self,
        where: str,
        loop: asyncio.AbstractEventLoop,
        idle: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self._where = where
        self._loop = loop
        self._idle = idle
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._response: ConnectionResponse | None = None
        self._lines: list[tuple[str, str]] = []
        self._bytes_without_body = 0
        self._has_length = False
        self._ended = False
        self._reusable = False
        self._eof = False
        self.idle_since = 0.0

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes) -> ConnectionResponse:
        """Send a request; returns its response, of which nothing has arrived yet."""
        assert self._transport is not None
        response = self._response = ConnectionResponse(self, self._loop)
        self._transport.writelines((head, body) if body else (head,))
        return response

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def resume(self, response: ConnectionResponse) -> None:
        """Resume reading after a pause for `response`."""
        if self._response is response and self._transport is not None:
            self._transport.resume_reading()

    # ── asyncio ──────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection as open."""
        Connection.count += 1
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and wake the reader."""
        response = self._response
        if response is None or response.error is not None:
            self.abort()  # unrequested data
            return
        response.begun = True
        self._bytes_without_body += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(response, error.__context__ or error)
            return
        if self._bytes_without_body > MAX_HEAD_BYTES:
            self._fail(response, "too many bytes without body data")
            return
        if self._ended:
            self._end(response)
        response.notify()

    def eof_received(self) -> None:
        """Close at once at EOF: the upstream may never read the rest of the request."""
        self._eof = True
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a response that is delimited by the close of the connection; any other fails."""
        Connection.count -= 1
        self._parser = None  # break the reference cycle
        self._transport = None
        response, self._response = self._response, None
        self._lost(self)
        if response is None or response.done or response.error is not None:
            return
        if response.status and not self._has_length and self._eof:
            response.done = True
        elif response.status:
            response.error = Incomplete(f"{self._where} sent an incomplete response")
        else:
            response.error = ConnectionLost(f"{self._where} {NO_RESPONSE}")
            response.error.begun = response.begun
        response.notify()

    def _fail(self, response: ConnectionResponse, why: object) -> None:
        record = f"{self._where} sent an invalid HTTP response"
        response.error = InvalidResponse(f"{record}: {why}", record=record)
        if response.status:
            response.error = Incomplete(f"{self._where} sent an incomplete response")
        self.abort()
        response.notify()

    def _end(self, response: ConnectionResponse) -> None:
        assert self._transport is not None
        response.done = True
        self._response, self._ended, self._bytes_without_body = None, False, 0
        unsent = self._transport.get_write_buffer_size()
        if unsent or not self._reusable:
            self.abort()
            return
        if response.paused:
            self._transport.resume_reading()
        self._idle(self)

    # ── httptools ────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Reject data after the response."""
        if self._ended:
            raise ValueError("unexpected data after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are dropped later."""
        known = _name(name) if len(name) <= MAX_CACHED_NAME else name.decode("latin-1").lower()
        self._lines.append((known, value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete; one with a status below 200 precedes another."""
        # The counted bytes may include some of the body.
        if self._bytes_without_body > MAX_HEAD_BYTES < sum(len(a) + len(b) for a, b in self._lines):
            raise ValueError(f"the response head is larger than {MAX_HEAD_BYTES} bytes")
        status: int = self._parser.get_status_code()
        if status < 100:
            raise ValueError(f"invalid status {status}")
        if status >= 200 and self._response is not None:
            named = dict(self._lines)
            has_length = "content-length" in named or "transfer-encoding" in named
            self._has_length = has_length or status in (204, 304)
            self._response.lines, self._response.status = tuple(self._lines), status
        self._lines = []

    def on_body(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        self._bytes_without_body = 0
        if self._response is not None and self._response.add(data) and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Mark the response as ended; `data_received` completes it after parsing."""
        self._lines = []
        if self._response is not None and self._response.status:
            self._ended = True
            self._reusable = bool(self._parser.should_keep_alive())


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    """The name of a header in lower case; cached, because the same few occur again and again."""
    return raw.decode("latin-1").lower()
