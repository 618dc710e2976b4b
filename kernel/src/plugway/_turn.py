"""One request on a connection, and its answer: what ASGI says of them, and what it cannot say.

What arrives on the connection, and when it closes, is `_protocol.py`'s business.
"""

from __future__ import annotations

import asyncio
import http
import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Scope

from plugway._errors import Headers, error_body, error_type
from plugway._framing import joined
from plugway._head import NAME, Head
from plugway._ids import new_id

if TYPE_CHECKING:
    from plugway._protocol import GatewayProtocol

log = logging.getLogger("plugway.protocol")

_NOT_IN_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BODYLESS: Final = frozenset((204, 304))


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


STATUS_LINES: Final = {n: f"HTTP/1.1 {n} {_phrase(n)}\r\n".encode() for n in range(100, 600)}


class Turn:
    """One request and its answer. It is the `Channel` of the exchange, too."""

    complete = False
    """All of the answer is written."""
    gone = False
    """The client has left, or the answer was cut."""
    started = False
    """The head of the answer is written, or about to be."""
    more_body = True
    """The end of the request has not come yet."""
    waiting_bytes = 0
    """Bytes of the body that nobody has received."""
    task: asyncio.Task[None]
    _received_all = False
    _news: asyncio.Event | None = None
    _leave: Callable[[], None] | None = None
    _unsent = b""
    """The head of the answer: it goes out with the piece that follows it in the same turn of the
    loop, because a second write costs a third of all the time that a small request takes."""
    _left: int | None = None
    """Bytes of the answer that are still to come; None where it does not say how many there are."""
    _chunked = False

    def __init__(self, connection: GatewayProtocol, head: Head) -> None:
        self._connection = connection
        self._head_only = head.method == "HEAD"
        self._can_chunk = head.version == "1.1"
        self._expects = head.expects
        self.keep_alive = head.keep_alive
        self._pieces: list[bytes] = []

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have `app` answer; where it does not, the client is told so."""
        try:
            await app(scope, self.receive, self.send)
            if not (self.complete or self.gone):
                log.error("the application returned without a whole answer")
        except Exception:
            log.exception("the application failed")
        finally:
            self._connection.shared.tasks.discard(self.task)
            if not (self.complete or self.gone):
                self._fail()

    # ── ASGI ─────────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> Message:
        """The body in pieces, and after it that the client has left or has been answered."""
        if self._expects and not self.started:
            self._expects = False
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self.gone or self.complete):
            if self._pieces or not (self.more_body or self._received_all):
                body = self._taken()
                self._connection.resume_reading()
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            news = self._news = self._news or asyncio.Event()
            news.clear()
            await news.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write the head of the answer, or a piece of its body."""
        if self._connection.congested is not None:
            await self._connection.drained()
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._piece(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start" and not self.started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"`{kind}` cannot be sent now")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        lines = [STATUS_LINES[status], self._connection.shared.date.encode(), b"\r\n"]
        for raw, value in headers:
            name = raw.lower()
            if not NAME.fullmatch(name) or _NOT_IN_A_VALUE.search(value):
                raise ValueError("a header line holds what no header may hold")
            if name == b"content-length":
                self._left = int(value)
            elif name == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            elif name == b"transfer-encoding":
                continue
            lines.append(name + b": " + value + b"\r\n")
        if self._head_only or status in _BODYLESS:
            self._left = None
        elif self._left is None and self._can_chunk:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        elif self._left is None:
            self.keep_alive = False
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self.started, self._unsent = True, b"".join(lines)
        self._connection.loop.call_soon(self.flush)

    def _piece(self, body: bytes, more: bool) -> None:
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                data += b"0\r\n\r\n"
        else:
            data = b"" if self._head_only else body
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise ValueError("the answer is not as long as its `content-length` says")
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        if data:
            self._connection.transport.write(data)
        if not more:
            self._end()

    def flush(self) -> None:
        """Write a head that waits for a body."""
        if self._unsent and not self.gone:
            head, self._unsent = self._unsent, b""
            self._connection.transport.write(head)

    def _end(self) -> None:
        self.complete, self._leave = True, None
        self._wake()
        self._connection.answered(self)

    def _fail(self) -> None:
        if self.started:
            self._connection.cut()
            return
        self.keep_alive, self.started = False, True
        date = self._connection.shared.date
        self._connection.transport.write(refusal(500, "the gateway failed", date))
        self._end()

    # ── beyond ASGI (`Channel`) ──────────────────────────────────────────────────────────────

    def body(self) -> bytes | None:
        """The whole body where all of it is here, for whoever has received nothing of it yet."""
        if self.more_body or self.gone or self._expects:
            return None
        return self._taken()

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer in one write, for a third of what the two messages of ASGI cost that say the
        same. `headers` hold the length. Raises `ValueError` where a line cannot be sent."""
        connection = self._connection
        if connection.congested is not None:
            await connection.drained()
        if self.gone or self.complete:
            return
        if not self.keep_alive or ("connection", "close") in headers:
            self.keep_alive = False
            kept = tuple(line for line in headers if line[0] != "connection")
            headers = (*kept, ("connection", "close"))
        head = joined(connection.shared.date, headers)
        self.started = True
        sent = b"" if self._head_only else body
        connection.transport.write(b"".join((STATUS_LINES[status], head, sent)))
        self._end()

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Have `leave` called if the connection ends before the exchange does."""
        self._leave = leave
        if self.gone:
            self.left()
        return self._nobody

    def _nobody(self) -> None:
        self._leave = None

    def cut(self) -> None:
        """End the connection here, so that the client can tell that the answer is not whole."""
        if not (self.complete or self.gone):
            self._leave = None  # it knows
            self._connection.cut()

    # ── what the connection tells ────────────────────────────────────────────────────────────

    def put(self, data: bytes) -> None:
        """A piece of the body has come."""
        self._pieces.append(data)
        self.waiting_bytes += len(data)
        self._wake()

    def end_body(self) -> None:
        """All of the body has come."""
        self.more_body = False
        self._wake()

    def left(self) -> None:
        """The client has left, or is refused: nothing can be sent any more."""
        self.gone = True
        self._wake()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _taken(self) -> bytes:
        pieces, self._pieces, self.waiting_bytes = self._pieces, [], 0
        self._received_all = not self.more_body
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()


def refusal(status: int, reason: str, date: str) -> bytes:
    """An answer of the connection's own, after which it closes."""
    request_id = new_id("req")
    body = error_body(error_type(status), reason, request_id)
    lines = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("request-id", request_id),
        ("connection", "close"),
    )
    return STATUS_LINES[status] + joined(date, lines) + body
