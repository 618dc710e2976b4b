"""One request on a connection, and its answer: uvicorn's cycle, and the `Channel` beside ASGI.

What arrives on the connection, and when it closes, is `http/protocol`'s business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from plugway.types.errors import Headers, error_body, error_type
from plugway.types.ids import new_id
from plugway.upstream.wire import joined

if TYPE_CHECKING:
    from plugway.http.protocol import GatewayProtocol

log = logging.getLogger("plugway.protocol")

_CLOSE: Final = ("connection", "close")
_COPIED: Final = 64 * 1024
"""Bytes of a body up to which copying it behind its head costs less than a second write."""


class Turn(RequestResponseCycle):
    """One request and its answer. It is the `Channel` of the exchange, too."""

    _leave: Callable[[], None] | None = None

    def __init__(
        self, connection: GatewayProtocol, scope: Any, *, expects: bool, keep_alive: bool
    ) -> None:
        super().__init__(
            scope=scope,
            transport=cast("asyncio.Transport", connection.door),
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
        """Have `app` answer; where it does not, the client is told so."""
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.response_complete or self.disconnected):
                log.error("the application returned without a whole answer")
        except Exception:
            log.exception("the application failed")
        finally:
            if not (self.response_complete or self.disconnected):
                self._fail()
            cast("dict[str, Any]", self.scope).pop("extensions", None)  # a circle, with this in it

    def _fail(self) -> None:
        if self.response_started:
            self._connection.cut()
        else:
            self.keep_alive = False
            self._write(refusal(500, "the gateway failed", self.default_headers))

    def _write(self, answer: bytes) -> None:
        """A whole answer, and with it the end of this turn."""
        self.response_started = self.response_complete = True
        self.transport.write(answer)
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self._connection.on_response_complete()

    # ── beyond ASGI (`Channel`) ──────────────────────────────────────────────────────────────

    def whole_body(self) -> bytes | None:
        """The body where all of it is here, for whoever has received nothing of it yet."""
        if self.more_body or self.disconnected or self.waiting_for_100_continue:
            return None
        return self._taken()

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer in one write, for a third of what the two messages of ASGI cost that say the
        same. `headers` hold the length. Raises `ValueError` where a line cannot be sent."""
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
        """Have `leave` called if the connection ends before the exchange does."""
        self._leave = leave
        if self.disconnected:
            self.left()
        return self._nobody

    def _nobody(self) -> None:
        self._leave = None

    def cut(self) -> None:
        """End the connection here, so that the client can tell that the answer is not whole."""
        if not (self.response_complete or self.disconnected):
            self._leave = None  # it knows
            self._connection.cut()

    # ── what the connection tells ────────────────────────────────────────────────────────────

    def put(self, data: bytes) -> int:
        """A piece of the body has come; how many bytes wait now."""
        # The first piece is kept as it came, which saves a copy of nearly every body.
        waiting = cast("bytes", self.body)
        self.body = cast("bytearray", waiting + data if waiting else data)
        self.message_event.set()
        return len(self.body)

    def end_body(self) -> None:
        """All of the body has come."""
        self.more_body = False
        self.message_event.set()

    def left(self) -> None:
        """The client has left, or is refused: nothing can be sent any more."""
        self.disconnected = True
        self.message_event.set()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _taken(self) -> bytes:
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        return body


class OldTurn(Turn):
    """A turn in HTTP/1.0, which has no chunks: where no length is known, the connection's end is
    the answer's."""

    async def send(self, message: Any) -> None:
        """Write the head of the answer, or a piece of its body."""
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message["headers"]):
                self.chunked_encoding, self._until_the_end = False, True
        elif self._until_the_end:
            left = 1 if message.get("more_body", False) else 0
            self.expected_content_length = len(message.get("body", b"")) + left
        await super().send(message)

    _until_the_end = False


def date_of(lines: list[tuple[bytes, bytes]]) -> str:
    """The `Date` line among those that uvicorn sends with every answer."""
    return f"date: {lines[0][1].decode()}"


def refusal(status: int, reason: str, lines: list[tuple[bytes, bytes]]) -> bytes:
    """An answer of the connection's own, after which it closes."""
    request_id = new_id("req")
    body = error_body(error_type(status), reason, request_id)
    own = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("request-id", request_id),
        _CLOSE,
    )
    return STATUS_LINE[status] + joined(date_of(lines), own) + body
