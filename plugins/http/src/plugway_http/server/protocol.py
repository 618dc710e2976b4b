"""One client connection: uvicorn's protocol over llhttp, with the checks that a gateway needs.

uvicorn itself accepts heads of any size and pace, several `Host` headers and any target, and
rejects requests in plain text. Here heads are limited in bytes, lines and time, errors are JSON as
the API defines it, clients that stop reading are dropped, and a client that is still sending when
it gets its response can read it. `server/turn` writes the responses.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from types import SimpleNamespace
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from plugway_http.server.turn import OldTurn, Turn, error_response
from plugway_http.wire import RenderError, WireError, WireLimits

log = logging.getLogger("plugway.protocol")

MAX_WAITING_BYTES: Final = 256 * 1024
"""Unread bytes of a body above which reading pauses; the loop reads as much in one call."""
MAX_WAITING_TURNS: Final = 100
"""Requests that a client may pipeline."""
MAX_TRAILER_BYTES: Final = 8192
MOST_LINGERS: Final = 5
"""How many times `linger_seconds` a client may keep sending after its response."""
CLOSE_SECONDS: Final = 1.0
"""Time for an idle client to close its TLS connection when the server stops."""
_METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
}
_TARGET = re.compile(rb"/[!\"$-~]*")


class GatewayProtocol(HttpToolsProtocol):
    """Serves one request at a time; ambiguous requests get a 4xx response and are closed."""

    app: Any
    turn_transport: Any
    """The transport that turns see."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: WireLimits,
        render_error: RenderError,
        app: Any = None,
    ) -> None:
        """`app` is served instead of the application of `config`."""
        super().__init__(config, server_state, app_state, _loop)
        if app is not None:
            self.app = app
        self._limits = limits
        self.render_error = render_error
        self._running: Turn | None = None
        """The turn being served; pipelined ones wait in `pipeline`."""
        self._arriving: Turn | None = None
        """The turn that still receives its body."""
        self._in_head = False
        self._in_body = False
        self._got_body = False
        """The last read contained a piece of a body."""
        self._bytes = 0
        """Size so far of the head or trailer."""
        self._rejection: WireError | None = None
        """Why reading stopped."""
        self._ended = self._stopping = False
        self._drain_ends = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._idle_since = 0.0

    # ── the connection ───────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the timeout of the first request head."""
        super().connection_made(transport)
        # `close` first reads what the client is still sending.
        self.turn_transport = SimpleNamespace(
            write=transport.write, is_closing=transport.is_closing, close=self.hang_up
        )
        self._arm(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up; a running exchange is notified."""
        self._ended = True
        for timer in (self._deadline, self._stall, self._idle):
            if timer is not None:
                timer.cancel()
        self.pipeline.clear()
        self._abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes: heads and bodies of requests, one after the other."""
        if self._ended or (self._in_body and self._running is None):
            self._drain()
        if self._ended or self._rejection is not None:
            return
        in_head = self._in_head
        try:
            self.parser.feed_data(data)
            if self._got_body:
                self._got_body, self._bytes = False, 0
            elif self._in_body or (in_head and self._in_head):
                self._count(len(data))
        except httptools.HttpParserUpgrade as upgrade:
            self._serve_without_upgrade(data[upgrade.args[0] :])
        except (httptools.HttpParserError, WireError) as error:
            self._reject(
                self._rejection or WireError(400, f"not a valid HTTP/1.1 request: {error}")
            )
        if self._in_head and self._deadline is None and not self._ended:
            self._arm(self._limits.head_seconds)

    def _serve_without_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its `Upgrade` header, which a server may ignore (RFC
        9110, 7.8): the parser stops after such a head and treats the body as the new protocol."""
        method = self.parser.get_method()
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % line for line in self.headers if line[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", b""]) + rest)

    # ── callbacks of the parser ──────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """The first byte of a request arrived."""
        super().on_message_begin()
        self._in_head, self._bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """The request target, or a piece of it, arrived."""
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            self._refuse(414, f"URL is longer than {self._limits.target_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header arrived; trailers are counted and dropped."""
        name = name.lower()
        if self._in_head:
            self.headers.append((name, value))
            return
        self._count(len(name) + len(value) + 4)
        if name == b"connection":  # the parser would obey it, unlike us
            self._refuse(400, "`Connection` is not allowed in a trailer")

    def _count(self, size: int) -> None:
        """Count bytes of a head that is not complete, or of a trailer."""
        self._bytes += size
        most = self._limits.head_bytes if self._in_head else MAX_TRAILER_BYTES
        if self._bytes > most:
            what = "request head" if self._in_head else "trailer of the body"
            self._refuse(431, f"the {what} is larger than {most} bytes")
        if self._in_head:
            self._check_size()

    def _check_size(self) -> None:
        """Refuse a head whose headers are too many or too large."""
        headers, limits = self.headers, self._limits
        if len(headers) > limits.head_lines:
            self._refuse(431, f"more than {limits.head_lines} headers")
        if sum(map(len, chain.from_iterable(headers))) + 4 * len(headers) > limits.head_bytes:
            self._refuse(431, f"the request head is larger than {limits.head_bytes} bytes")

    def on_headers_complete(self) -> None:
        """Start serving the request whose head is now complete."""
        self._in_head, self._bytes = False, 0
        self._disarm()
        self._check_size()
        parser = self.parser
        version = parser.get_http_version()
        self._check(parser.get_method(), version)
        if parser.should_upgrade():
            return
        self._in_body = True
        path, _, query = self.url.partition(b"?")
        text = path.decode()
        scope: Any = self.scope
        scope["method"] = _METHODS[parser.get_method()]
        scope["http_version"] = version
        scope["path"] = unquote(text) if "%" in text else text
        scope["raw_path"] = path
        scope["query_string"] = query
        is_new = version == "1.1"
        turn = (Turn if is_new else OldTurn)(
            self,
            scope,
            expects=is_new and self.expect_100_continue,
            keep_alive=is_new and parser.should_keep_alive(),
        )
        scope["extensions"] = {"plugway": turn}
        self.cycle = self._arriving = turn
        if self._running is None:
            self._start(turn)
        elif len(self.pipeline) < MAX_WAITING_TURNS:
            self.flow.pause_reading()
            self.pipeline.appendleft((turn, self.app))
        else:
            self._refuse(400, "too much data was pipelined")

    def _check(self, method: bytes, version: str) -> None:
        """Reject what llhttp accepts but servers interpret differently (RFC 9112, 11.2)."""
        if method == b"CONNECT":
            self._refuse(405, "this is not a forward proxy")
        if method not in _METHODS:
            self._refuse(405, "unknown method")
        if version not in ("1.1", "1.0"):
            self._refuse(400, "not an HTTP/1.1 request line")
        if not _TARGET.fullmatch(self.url):
            self._refuse(400, "the target must be a path of visible ASCII characters")
        named = dict(self.headers)
        if len(named) < len(self.headers) or b"host" not in named:
            names = [name for name, _ in self.headers]
            if names.count(b"host") != 1:
                self._refuse(400, "exactly one `Host` header is required")
            if names.count(b"transfer-encoding") > 1:
                self._refuse(400, "more than one `Transfer-Encoding` header")
        if b"expect" in named:
            self.expect_100_continue = named[b"expect"].lower() == b"100-continue"
        coding = named.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version != "1.1"):
            self._refuse(400, "the only `Transfer-Encoding` is `chunked`, in HTTP/1.1")

    def on_body(self, body: bytes) -> None:
        """A piece of a body arrived; it is discarded if the request has its response."""
        self._got_body = True
        turn = self._arriving
        if turn is not None and turn.add_body(body) > MAX_WAITING_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """The whole request arrived."""
        self._in_body, self._bytes = False, 0
        turn, self._arriving = self._arriving, None
        if turn is not None:
            turn.end_body()
        elif self._running is None:
            self._disarm()
            self._wait_for_next()

    def _refuse(self, status: int, reason: str) -> NoReturn:
        self._rejection = WireError(status, reason)
        raise self._rejection

    def _reject(self, error: WireError) -> None:
        """Send an error response and close, after the responses to earlier requests."""
        self._rejection = error
        log.debug("rejected %s: %s", self.client, error)
        turn, arriving = self._running, self._arriving
        if turn is not None and turn is not arriving:
            if arriving is not None:  # pipelined, and will never be complete
                self.pipeline.popleft()
                self._arriving, self._in_body = None, False
            self.flow.pause_reading()
        elif turn.response_started if turn is not None else self._in_body:
            self.cut()
        else:
            self._abandon()
            self.transport.write(
                error_response(
                    error.status,
                    self.render_error(error.status, str(error)),
                    self.server_state.default_headers,
                )
            )
            self.hang_up()

    # ── responses ────────────────────────────────────────────────────────────────────────────

    def _start(self, turn: Turn) -> None:
        self._running = turn
        turn.task = self.loop.create_task(turn.run_asgi(self.app))
        self.tasks.add(turn.task)  # the turn removes it; a callback would take a step of the loop

    def on_response_complete(self) -> None:
        """Serve the next request, after discarding the rest of this one's body."""
        if self._arriving is self._running:
            self._arriving = None
        self._running = None
        self.server_state.total_requests += 1
        if self._ended or self.transport.is_closing():
            return
        if self.pipeline:
            turn, _ = self.pipeline.pop()
            self._start(cast("Turn", turn))
            return
        if self._rejection is not None:
            self._reject(self._rejection)
            return
        self.flow.resume_reading()
        if self._in_body:
            self._linger()
        else:
            self._wait_for_next()

    def cut(self) -> None:
        """Flush and close without completing the response."""
        self._ended = True
        self._abandon()
        self.transport.close()
        self._arm(self._limits.stall_seconds)

    def _abandon(self) -> None:
        """Notify the running exchange that its response cannot be delivered."""
        turn, self._running, self._arriving = self._running, None, None
        if turn is not None:
            turn.client_left()
        self.resume_writing()

    def hang_up(self) -> None:
        """Close after a response; a client that is still sending can read it (RFC 9112, 9.6)."""
        # With TLS, closing half of a connection is not possible, and closing it is polite.
        is_whole = self._stopping or not self.transport.can_write_eof()
        if is_whole and not (self._in_body or self._rejection):
            self.transport.close()
            return
        self._ended = True
        self.flow.resume_reading()
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self._linger()

    def _linger(self) -> None:
        self._drain_ends = self.loop.time() + MOST_LINGERS * self._limits.linger_seconds
        self._drain()

    def _drain(self) -> None:
        """Discard what arrives within the limits, then close and flush."""
        self._arm(min(self._drain_ends - self.loop.time(), self._limits.linger_seconds), self.cut)

    def shutdown(self) -> None:
        """Close now if idle, after the running response otherwise."""
        if self._running is not None:
            self._running.keep_alive, self._stopping = False, True
        elif self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.close()
            if not self.transport.can_write_eof():
                # A client that is idle may never reply to the end of TLS.
                self._arm(CLOSE_SECONDS)

    # ── timeouts ─────────────────────────────────────────────────────────────────────────────

    def pause_writing(self) -> None:
        """Wait a limited time for a client that does not read."""
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(self._limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Resume writing."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _wait_for_next(self) -> None:
        # One timer that reschedules itself is cheaper than a new one for every request.
        self._idle_since = self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._close_idle)

    def _close_idle(self) -> None:
        self._idle = None
        if self._running is not None or self._in_body or self._in_head:
            return  # a request is running, or arriving under its own timeout
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle = self.loop.call_later(left, self._close_idle)
        else:
            self.transport.close()

    def _arm(self, seconds: float, then: Callable[[], None] | None = None) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, then or self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
