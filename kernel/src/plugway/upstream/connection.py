"""One HTTP/1.1 connection to an upstream, with one exchange at a time on it.

Which connection a request gets is the business of `upstream/pool`, what goes out on it that of
`upstream/upstream`. A general client cost 40 % more CPU on a small request (`bench/gateway.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Any, ClassVar, Final, cast

import anyio.lowlevel
import httptools

from plugway.types.errors import (
    BackendError,
    BackendProtocolError,
    BackendUnavailable,
    Headers,
    StreamInterrupted,
)

MAX_HEAD_BYTES: Final = 64 * 1024
"""Largest head, and most bytes in a row that bring no body: trailers, extensions of chunks."""
MAX_WAITING_BYTES: Final = 256 * 1024
"""Bytes of a body that nobody has taken, above which the connection is not read."""
MAX_TAKEN_BYTES: Final = 32 * 1024
"""Bytes of a body that are worked on at once."""
MAX_SECONDS: Final = 0.002
"""How long what has arrived is worked on before the loop goes on."""
NO_ANSWER: Final = (
    "closed the connection before it answered - look at the server's log; a port for https needs "
    "`https://` in `base_url`"
)
LONGEST_NAME: Final = 64
"""Characters of the longest name of a header line that is remembered."""


class Unanswered(BackendUnavailable):
    """A connection was lost before the head of an answer."""

    begun = False
    """Some bytes of the head had come."""


class Answer:
    """The answer to one request: its head, and its body as it arrives."""

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
        """When the loop last went on."""
        self.paused = False
        """More than enough is waiting, so that the connection is not read."""
        self._waiter: asyncio.Future[None] | None = None
        self.begun = False
        """Some byte of it has come."""
        self.done = False
        """All of it has come."""
        self.error: BackendError | None = None
        """Why nothing more will come."""
        self.status = 0
        """0 until the head is there."""
        self.lines: Headers = ()

    async def headed(self) -> Answer:
        """This, when its head is there; its connection is closed where that does not come.

        Raises `Unanswered` or `BackendProtocolError`.
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

    async def take(self, most: int = MAX_TAKEN_BYTES) -> bytes:
        """What has arrived of the body, as soon as there is any, up to `most` bytes; empty at its
        end.

        Raises `StreamInterrupted`, after everything that came before the break was taken.
        """
        if self._pieces and monotonic() - self._since > MAX_SECONDS:
            await anyio.lowlevel.checkpoint()  # what is always here must not hold the loop
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
            self._connection.go_on(self)
        return data

    def close(self) -> None:
        """Let go of it: a connection on which it has not ended is of no more use."""
        if not self.done:
            self._connection.abort()

    def put(self, data: bytes) -> bool:
        """Add a piece of the body; whether it is the one that makes it more than enough."""
        self._pieces.append(data)
        self._size += len(data)
        before, self.paused = self.paused, self._size > MAX_WAITING_BYTES
        return self.paused and not before

    def wake(self) -> None:
        """Something has changed."""
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
    """One connection. `idle` is called when it is free again, `lost` when it is no more."""

    count: ClassVar[int] = 0
    """How many of this process are open."""

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
        self._answer: Answer | None = None
        self._lines: list[tuple[str, str]] = []
        self._barren = 0
        self._framed = False
        self._ended = False
        self._reusable = False
        self._eof = False
        self.idle_since = 0.0

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, head: bytes, body: bytes) -> Answer:
        """Send a request; its answer is still to come."""
        assert self._transport is not None
        answer = self._answer = Answer(self, self._loop)
        self._transport.writelines((head, body) if body else (head,))
        return answer

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def go_on(self, answer: Answer) -> None:
        """Read on after a pause that `answer` needed."""
        if self._answer is answer and self._transport is not None:
            self._transport.resume_reading()

    # ── asyncio ──────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        Connection.count += 1
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and tell the reader."""
        answer = self._answer
        if answer is None or answer.error is not None:
            self.abort()  # nobody has asked
            return
        answer.begun = True
        self._barren += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(answer, error.__context__ or error)
            return
        if self._barren > MAX_HEAD_BYTES:
            self._fail(answer, "too many bytes in a row are no body")
            return
        if self._ended:
            self._end(answer)
        answer.wake()

    def eof_received(self) -> None:
        """The upstream says no more: closing at once, as it may never take the rest of a request
        that would be waited for."""
        self._eof = True
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by the upstream: the end of an answer that has no other end, else a failure."""
        Connection.count -= 1
        self._parser = None  # it holds this object
        self._transport = None
        answer, self._answer = self._answer, None
        self._lost(self)
        if answer is None or answer.done or answer.error is not None:
            return
        if answer.status and not self._framed and self._eof:
            answer.done = True
        elif answer.status:
            answer.error = StreamInterrupted(f"{self._where} broke off its answer")
        else:
            answer.error = Unanswered(f"{self._where} {NO_ANSWER}")
            answer.error.begun = answer.begun
        answer.wake()

    def _fail(self, answer: Answer, why: object) -> None:
        record = f"{self._where} does not answer in valid HTTP"
        answer.error = BackendProtocolError(f"{record}: {why}", record=record)
        if answer.status:
            answer.error = StreamInterrupted(f"{self._where} broke off its answer")
        self.abort()
        answer.wake()

    def _end(self, answer: Answer) -> None:
        assert self._transport is not None
        answer.done = True
        self._answer, self._ended, self._barren = None, False, 0
        unsent = self._transport.get_write_buffer_size()
        if unsent or not self._reusable:
            self.abort()
            return
        if answer.paused:
            self._transport.resume_reading()
        self._idle(self)

    # ── httptools ────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Refuse what comes after an answer: nobody has asked for it."""
        if self._ended:
            raise ValueError("something follows the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a line of the head, or of the trailer."""
        known = _name(name) if len(name) <= LONGEST_NAME else name.decode("latin-1").lower()
        self._lines.append((known, value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is there; one with a status below 200 only announces another."""
        # What has come may be of the body, too.
        if self._barren > MAX_HEAD_BYTES < sum(len(a) + len(b) for a, b in self._lines):
            raise ValueError(f"its head is larger than {MAX_HEAD_BYTES} bytes")
        status: int = self._parser.get_status_code()
        if status < 100:
            raise ValueError(f"its status is {status}")
        if status >= 200 and self._answer is not None:
            named = dict(self._lines)
            told = "content-length" in named or "transfer-encoding" in named
            self._framed = told or status in (204, 304)
            self._answer.lines, self._answer.status = tuple(self._lines), status
        self._lines = []

    def on_body(self, data: bytes) -> None:
        """Hand on a piece of the body."""
        self._barren = 0
        if self._answer is not None and self._answer.put(data) and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The end, as soon as what came with it has been looked at."""
        self._lines = []
        if self._answer is not None and self._answer.status:
            self._ended = True
            self._reusable = bool(self._parser.should_keep_alive())


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    """The name of a header line; there are few, and each comes again and again."""
    return raw.decode("latin-1").lower()
