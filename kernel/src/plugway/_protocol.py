"""HTTP/1.1 on one connection: how long a request may take to arrive, and what follows an answer.

What a head says is in `_head.py`, where a body ends in `_framing.py`, the answer in `_turn.py`.
uvicorn's protocols take heads of any size, with several `Host` lines, at any pace.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import unquote

from starlette.types import ASGIApp
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from plugway._framing import Chunked, Sized, WireError, WireLimits
from plugway._head import CHUNKED, Head, check_start, parse_head
from plugway._turn import Turn, refusal

MAX_WAITING_BYTES: Final = 256 * 1024
"""Bytes of a body that nobody has received, above which the connection is not read: what the loop
reads at once."""


@dataclass(slots=True)
class Shared:
    """What the connections of a server share."""

    app: ASGIApp
    limits: WireLimits
    keep_alive_seconds: float
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    """The application's own, from its startup; each request gets a copy."""
    date: str = "date: Thu, 01 Jan 1970 00:00:00 GMT"
    """The `Date` line of every answer."""
    connections: set[GatewayProtocol] = field(default_factory=set["GatewayProtocol"])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    """Exchanges in flight."""


class GatewayProtocol(asyncio.Protocol):
    """Serves one request at a time; whatever is doubtful is answered with 4xx and closed."""

    transport: asyncio.Transport

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self.shared = shared
        self.loop = loop
        self.congested: asyncio.Event | None = None
        """Set once the client has taken what was sent to it; None where nothing waits."""
        self._limits = shared.limits
        self._scope: dict[str, Any] = {}
        self._turn: Turn | None = None
        self._body: Sized | Chunked | None = None
        self._held = bytearray()
        self._ended = False
        self._paused = False
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._idle_since = 0.0

    # ── the connection ───────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock: a silent connection is closed like one that drips."""
        self.transport = cast("asyncio.Transport", transport)
        self.shared.connections.add(self)
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "scheme": "http",
            "root_path": "",
            "server": get_local_addr(self.transport),
            "client": get_remote_addr(self.transport),
        }
        self._arm(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a running exchange is told."""
        self._ended = True
        self.shared.connections.discard(self)
        for timer in (self._deadline, self._stall, self._idle):
            if timer is not None:
                timer.cancel()
        self._stall = None
        self._abandon()

    def data_received(self, data: bytes) -> None:
        """Take what arrived: heads and bodies of requests, one after the other."""
        if self._ended:
            return
        rest: bytes | None = data
        try:
            while rest:
                rest = self._take_head(rest) if self._body is None else self._take_body(rest)
        except WireError as error:
            self._reject(error)

    def _take_head(self, data: bytes) -> bytes | None:
        """Serve the request whose head is now complete; what comes after it, or None."""
        if self._held or self._turn is not None:
            self._held += data
            data = bytes(self._held)
        most = self._limits.head_bytes
        if self._turn is not None:
            # One request at a time: what a client sends ahead waits, and not without limit.
            if len(data) > most:
                raise WireError(400, "too much was sent ahead of an answer")
            return None
        end = data.find(b"\r\n\r\n", 0, most) + 4
        if end < 4:
            check_start(data, self._limits)
            if len(data) >= most:
                raise WireError(431, f"request head is larger than {most} bytes")
            self._held = self._held or bytearray(data)
            if self._deadline is None:
                self._arm(self._limits.head_seconds)
            return None
        self._held = bytearray()
        self._disarm()
        head = parse_head(data[:end], self._limits)
        return self._start_body(self._serve(head), head.length, data[end:])

    def _start_body(self, turn: Turn, length: int, data: bytes) -> bytes | None:
        if length == 0:
            turn.end_body()
            return data
        if length == len(data):  # mostly all of it comes at once
            turn.put(data)
            turn.end_body()
            return None
        self._body = Chunked() if length == CHUNKED else Sized(length)
        return data

    def _serve(self, head: Head) -> Turn:
        turn = self._turn = Turn(self, head)
        path = head.path.decode()
        scope = {
            **self._scope,
            "method": head.method,
            "http_version": head.version,
            "path": unquote(path) if "%" in path else path,
            "raw_path": head.path,
            "query_string": head.query,
            "headers": head.lines,
            "state": self.shared.state.copy(),
            "extensions": {"plugway": turn},
        }
        turn.task = self.loop.create_task(turn.run(self.shared.app, scope))
        self.shared.tasks.add(turn.task)
        return turn

    def _take_body(self, data: bytes) -> bytes | None:
        """Keep what belongs to the body; what comes after its end, or None."""
        assert self._body is not None
        turn = self._turn
        rest = self._body.feed(data, _thrown_away if turn is None else turn.put)
        if rest is None:
            if turn is not None and turn.waiting_bytes > MAX_WAITING_BYTES and not self._paused:
                self._paused = True
                self.transport.pause_reading()
            return None
        self._body = None
        self._disarm()
        if turn is None:
            self._wait_for_the_next()
        else:
            turn.end_body()
        return rest

    def _reject(self, error: WireError) -> None:
        turn = self._turn
        client = self._scope.get("client")
        logging.getLogger("plugway.protocol").debug("refused %s: %s", client, error)
        answered = self._body is not None if turn is None else turn.started
        if answered:
            return self.cut()
        self._abandon()
        self.transport.write(refusal(error.status, str(error), self.shared.date))
        self._linger()

    # ── its answers ──────────────────────────────────────────────────────────────────────────

    def answered(self, turn: Turn) -> None:
        """Go on with the next request, once the body of this one has been thrown away."""
        self._turn = None
        if not turn.keep_alive:
            self._hang_up()
        if self._ended or self.transport.is_closing():
            return
        self.resume_reading()
        if self._body is not None:
            self._arm(self._limits.linger_seconds)
            return
        self._wait_for_the_next()
        if self._held:
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        self.data_received(held)

    def cut(self) -> None:
        """End the connection here: what was written is flushed, nothing says it is complete."""
        self._ended = True
        if self._turn is not None:
            self._turn.flush()
        self._abandon()
        self.transport.close()
        self._arm(self._limits.stall_seconds)

    def _abandon(self) -> None:
        """Tell a running exchange that nothing it sends will arrive."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.left()
        self.resume_writing()

    def _hang_up(self) -> None:
        """Close after an answer; where that came before the request's end, so that it can be read.

        Closing with unread input makes the kernel reset the connection, and some clients then
        report the reset instead of the answer.
        """
        if self._body is None:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self._ended = True
        self.resume_reading()
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self._arm(self._limits.linger_seconds)

    def shutdown(self) -> None:
        """Close now if nothing is in flight, after the answer otherwise."""
        if self._turn is not None:
            self._turn.keep_alive = False
        elif self._ended:
            self.transport.abort()
        else:
            self.transport.close()

    # ── pace ─────────────────────────────────────────────────────────────────────────────────

    def resume_reading(self) -> None:
        """Read on after a pause."""
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    async def drained(self) -> None:
        """Return when the client has taken what was sent to it, or is gone."""
        while self.congested is not None:
            await self.congested.wait()

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        self.congested = self.congested or asyncio.Event()
        if self._stall is None:
            self._stall = self.loop.call_later(self._limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        if self.congested is not None:
            self.congested.set()
            self.congested = None
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _wait_for_the_next(self) -> None:
        # One timer looks again when it is due: one for every request would cost more than this.
        self._idle_since = self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self.shared.keep_alive_seconds, self._close_idle)

    def _close_idle(self) -> None:
        self._idle = None
        if self._turn is not None or self._body is not None or self._held:
            return  # a request is here, or arriving in the time that it has
        left = self._idle_since + self.shared.keep_alive_seconds - self.loop.time()
        if left > 0:
            self._idle = self.loop.call_later(left, self._close_idle)
        else:
            self.transport.close()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _thrown_away(data: bytes) -> None:
    """A piece of a body that has been answered already."""
