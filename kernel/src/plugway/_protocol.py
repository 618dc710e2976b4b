"""HTTP/1.1 on one connection: how long a request may take to arrive, and how an answer ends.

Which bytes are a request is decided in `_framing.py`; httptools parses the heads it found sound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from plugway._errors import Headers, error_body, error_type
from plugway._framing import Chunked, Sized, WireError, WireLimits, check_start, inspect, joined
from plugway._ids import new_request_id
from plugway._outlet import Outlet

__all__ = ["GatewayProtocol", "WireLimits"]


class GatewayProtocol(HttpToolsProtocol):
    """Serves one request at a time; whatever is doubtful is answered with 4xx and closed."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        limits: WireLimits | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits or WireLimits()
        self._held = bytearray()
        self._body: Sized | Chunked | None = None
        self._ended = False
        self._number = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._leave: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the clock: a silent connection is closed like one that drips."""
        super().connection_made(transport)
        self._outlet = Outlet(transport, self.loop, self.hang_up)
        self._arm(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a running exchange is told."""
        self._ended = True
        self._disarm()
        if self._stall is not None:
            self._stall.cancel()
        super().connection_lost(exc)
        self._left()

    def data_received(self, data: bytes) -> None:
        """Take what arrived: heads and bodies of requests, one after the other."""
        if self._ended:
            return
        self._unset_keepalive_if_required()
        try:
            self._take(data)
        except WireError as error:
            self._reject(error)

    def _take(self, data: bytes) -> None:
        rest: bytes | None = data
        while rest:
            if self._body is None:
                rest = self._take_head(rest)
                continue
            rest = self._body.feed(rest, self.on_body)
            if rest is not None:
                self._end_body()
            elif len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    def _take_head(self, data: bytes) -> bytes | None:
        """Serve the request whose head is now complete; what comes after it, or None."""
        if self._held or self._busy:
            self._held += data
            data = bytes(self._held)
        most = self._limits.head_bytes
        if self._busy:
            # One request at a time: what a client sends ahead waits, and not without limit.
            if len(data) > most:
                raise WireError(400, "too much was sent ahead of an answer")
            return None
        end = data.find(b"\r\n\r\n", 0, most)
        if end < 0:
            check_start(data, self._limits)
            if len(data) >= most:
                raise WireError(431, f"request head is larger than {most} bytes")
            self._held = self._held or bytearray(data)
            if self._deadline is None:
                self._arm(self._limits.head_seconds)
            return None
        self._held = bytearray()
        self._disarm()
        self._serve(data[: end + 4])
        return data[end + 4 :]

    def _serve(self, head: bytes) -> None:
        body = inspect(head, self._limits)
        before = self.cycle
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserInvalidMethodError:
            raise WireError(405, "unknown method") from None
        except httptools.HttpParserError as error:
            raise WireError(400, f"not a request head: {error}") from None
        except httptools.HttpParserUpgrade:
            pass  # no protocol is switched to: the request is served as if it had not asked
        if self.cycle is before:
            raise WireError(400, "not a whole request head")
        if body is None:
            super().on_message_complete()
        else:
            self._body = body
            self._outlet.expect_head()
            self.cycle.transport = self._outlet

    def on_headers_complete(self) -> None:
        """Start the exchange, with a way to cut it."""
        super().on_headers_complete()
        self._number += 1
        # By number: a reference to the cycle would keep it, and its body, until garbage collection.
        cut = partial(self._cut_exchange, self._number)
        on_leave = partial(self._call_on_leave, self._number)
        cast("dict[str, Any]", self.scope)["extensions"] = {
            "plugway.cut": cut,
            "plugway.on_leave": on_leave,
            "plugway.body": partial(self._whole_body, self._number),
            "plugway.whole": partial(self._answer_whole, self._number),
        }

    def on_body(self, body: bytes) -> None:
        """Keep a piece for whoever reads the body; one alone is not copied."""
        cycle = self.cycle
        if not cycle.response_complete:
            held: bytes | bytearray = cycle.body
            if not held:
                cycle.body = cast("bytearray", body)
            else:
                cycle.body = bytearray(held) if isinstance(held, bytes) else held
                cycle.body += body
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Ignore the parser's opinion: bodies are framed here."""

    def _end_body(self) -> None:
        self._body = None
        self._disarm()
        super().on_message_complete()
        if not self._busy:
            seconds = self.timeout_keep_alive
            idle = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = idle

    @property
    def _busy(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def on_response_complete(self) -> None:
        """Go on with the next request, once the body of this one has been thrown away."""
        self._leave = None
        if self._ended:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self._body is not None:
            self._arm(self._limits.linger_seconds)
        elif self._held:
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        self.data_received(held)

    def _whole_body(self, number: int) -> bytes | None:
        """The body where all of it is here, for whoever has received nothing of it yet."""
        cycle = self.cycle
        gone = number != self._number or cycle.disconnected
        if gone or cycle.more_body or cycle.waiting_for_100_continue:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()
        return body

    async def _answer_whole(self, number: int, status: int, headers: Headers, body: bytes) -> None:
        """Answer a POST in one write, for a third of what the two ASGI messages cost that say the
        same. `headers` hold the length."""
        if self.flow.write_paused:
            await self.flow.drain()
        if number != self._number or not self._busy or self.cycle.disconnected:
            return
        cycle = self.cycle
        lines = [f"{name}: {value}" for name, value in headers if name != "connection"]
        if not cycle.keep_alive:
            lines.append("connection: close")
        head = joined(lines)
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        self._outlet.flush()
        self._outlet.write(STATUS_LINE[status] + head + body)
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._outlet.close()
        cycle.on_response()

    def _cut_exchange(self, number: int) -> None:
        if number == self._number and self._busy:
            self._leave = None  # it knows
            self.cut()

    def _call_on_leave(self, number: int, leave: Callable[[], None]) -> None:
        """Have `leave` called if the connection ends before the exchange does."""
        if number == self._number and self._busy:
            self._leave = leave
            if self.cycle.disconnected:
                self._left()

    def _left(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def cut(self) -> None:
        """End the connection here: what was written is flushed, nothing says it is complete."""
        self._ended = True
        self._outlet.flush()
        self._abandon()
        self.transport.close()
        self._arm(self._limits.stall_seconds)

    def _abandon(self) -> None:
        if self._busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_writing()
            self._left()

    def hang_up(self) -> None:
        """Close after an answer; where that came before the request's end, so that it can be read.

        Closing with unread input makes the kernel reset the connection, and some clients then
        report the reset instead of the answer.
        """
        self._outlet.flush()
        if self._body is None:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self._ended = True
        self.flow.resume_reading()
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self._arm(self._limits.linger_seconds)

    def _reject(self, error: WireError) -> None:
        logging.getLogger("plugway.protocol").debug("refused %s: %s", self.client, error)
        answered = self.cycle.response_started if self._busy else self._body is not None
        if answered:
            return self.cut()
        self._abandon()
        self.transport.write(_answer(error, self.server_state.default_headers))
        self._linger()

    def shutdown(self) -> None:
        """Close now if nothing is in flight, after the answer otherwise."""
        if self._ended and not self._busy:
            self.transport.abort()
        super().shutdown()

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(self._limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _answer(error: WireError, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    request_id = new_request_id()
    body = error_body(error_type(error.status), str(error), request_id)
    lines = [
        *(name + b": " + value for name, value in default_headers),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"request-id: " + request_id.encode(),
        b"connection: close",
    ]
    return STATUS_LINE[error.status] + b"\r\n".join(lines) + b"\r\n\r\n" + body
