"""One request on a connection and its response: uvicorn's cycle, with more than ASGI offers.

`server/protocol` reads the connection and decides when it closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from plugway_http.wire import Headers, joined

if TYPE_CHECKING:
    from plugway_http.server.protocol import GatewayProtocol

log = logging.getLogger("plugway.protocol")

_CLOSE: Final = ("connection", "close")
_COPIED: Final = 64 * 1024
"""Size of a body up to which joining it to its head is cheaper than a second write."""


class Turn(RequestResponseCycle):
    """One request and its response. The application finds it in the scope's `extensions`."""

    task: asyncio.Task[None]
    _leave: Callable[[], None] | None = None

    def __init__(
        self, connection: GatewayProtocol, scope: Any, *, expects: bool, keep_alive: bool
    ) -> None:
        super().__init__(
            scope=scope,
            transport=connection.turn_transport,
            flow=connection.flow,
            logger=log,
            access_logger=log,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=expects,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )
        self._connection = connection

    async def run_asgi(self, app: Any) -> None:
        """Run `app`; if it fails to respond, send a 500 response or cut the connection."""
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.response_complete or self.disconnected):
                log.error("the application returned without a complete response")
        except Exception:
            log.exception("the application failed")
        finally:
            if not (self.response_complete or self.disconnected):
                self._fail()
            self._connection.tasks.discard(self.task)
            scope: Any = self.scope
            scope.pop("extensions", None)  # a circle, with this in it

    def _fail(self) -> None:
        if self.response_started:
            self._connection.cut()
        else:
            self.keep_alive = False
            error = self._connection.render_error(500, "internal gateway error")
            self._write(error_response(500, error, self.default_headers))

    def _write(self, response: bytes) -> None:
        """Write a complete response, which ends this turn."""
        self.response_started = self.response_complete = True
        self.transport.write(response)
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self._connection.on_response_complete()

    # ── beyond ASGI ──────────────────────────────────────────────────────────────────────────

    def whole_body(self) -> bytes | None:
        """The body if all of it has arrived and none was received through ASGI, else None."""
        if self.more_body or self.disconnected or self.waiting_for_100_continue:
            return None
        return self._take_body()

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete response in one write, at a third of the cost of two ASGI messages.
        `headers` include the length. Raises `ValueError` if a header cannot be sent."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self.response_complete:
            return
        if not self.keep_alive or _CLOSE in headers:
            self.keep_alive = False
            headers = (*(line for line in headers if line[0] != "connection"), _CLOSE)
        head = STATUS_LINE[status] + joined(date_of(self.default_headers), headers)
        if self.scope["method"] == "HEAD":
            body = b""
        if len(body) > _COPIED:
            self.transport.write(head)
            head = b""
        self._write(head + body)

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Call `leave` if the connection ends first; returns a function that unregisters it."""
        self._leave = leave
        if self.disconnected:
            self.client_left()
        return self._forget_leave

    def _forget_leave(self) -> None:
        self._leave = None

    def cut(self) -> None:
        """Close the connection, so that the client sees an incomplete response."""
        if not (self.response_complete or self.disconnected):
            self._leave = None
            self._connection.cut()

    # ── called by the connection ─────────────────────────────────────────────────────────────

    def add_body(self, data: bytes) -> int:
        """Add a piece of the body; returns the number of unread bytes."""
        # Keeping the first piece as it is saves a copy of nearly every body.
        body: Any = self.body + data if self.body else data
        self.body = body
        self.message_event.set()
        return len(self.body)

    def end_body(self) -> None:
        """Mark the body as complete."""
        self.more_body = False
        self.message_event.set()

    def client_left(self) -> None:
        """Mark the client as gone, or rejected: nothing more can be sent."""
        self.disconnected = True
        self.message_event.set()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _take_body(self) -> bytes:
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        return body


class OldTurn(Turn):
    """A turn in HTTP/1.0, which has no chunks: closing the connection ends a body of unknown
    length."""

    async def send(self, message: Any) -> None:
        """Write the head of the response, or a piece of its body."""
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message["headers"]):
                self.chunked_encoding, self._until_the_end = False, True
        elif self._until_the_end:
            left = 1 if message.get("more_body", False) else 0
            self.expected_content_length = len(message.get("body", b"")) + left
        await super().send(message)

    _until_the_end = False


def date_of(lines: list[tuple[bytes, bytes]]) -> str:
    """The `Date` header among uvicorn's default headers."""
    return f"date: {lines[0][1].decode()}"


def error_response(
    status: int, error: tuple[Headers, bytes], lines: list[tuple[bytes, bytes]]
) -> bytes:
    """A complete response with this `error`, after which the connection closes."""
    headers, body = error
    own = (*headers, ("content-length", str(len(body))), _CLOSE)
    return STATUS_LINE[status] + joined(date_of(lines), own) + body
