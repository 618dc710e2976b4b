"""Serves clients of other APIs: replies are translated from the Messages API to their dialect.

Plugins implement the dialects. A backend that speaks the client's own dialect is relayed byte for
byte.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from starlette.types import Message, Send

from plugway.exchange.writer import Channel
from plugway.plugins.contain import Contained, next_of
from plugway.types.backend import Relays
from plugway.types.dialect import (
    CountsTokens,
    Dialect,
    DialectEncoder,
    FramesStreams,
    NotesLosses,
)
from plugway.types.exchange import Attempt, Endpoint, Exchange
from plugway.types.request import MessagesRequest, Original
from plugway.types.response import Reply
from plugway_wire.errors import Headers, StreamInterrupted, error_type
from plugway_wire.json import as_object, loaded
from plugway_wire.sse import Decoder

PING = b": ping\n\n"
"""The default for the Messages API's `ping`: a comment, which clients of event streams ignore
(WHATWG HTML, "Parsing an event stream")."""


class DialectChannel:
    """An ASGI `send` and a `Channel` that translate replies into a dialect."""

    def __init__(
        self, dialect: Dialect, send: Send, path: str, channel: Channel, plugin: str = ""
    ) -> None:
        """`plugin` is the one that registered `dialect`."""
        self.dialect = dialect
        self.plugin = plugin or dialect.name
        self.whole_body, self._whole = channel.whole_body, channel.whole
        self.on_leave, self.cut = channel.on_leave, channel.cut
        self.raw = False
        """Pass the reply on unchanged: it is already in the dialect."""
        self.original = Original(dialect.name, path)
        self._send = send
        self._head: Message | None = None
        self._encoder: DialectEncoder | None = None
        self._decoder: Decoder | None = None
        self._ping = PING

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the dialect's requests."""
        dialect = self.dialect
        counts = isinstance(dialect, CountsTokens) and dialect.counts_tokens
        return "count_tokens" if counts else "messages"

    async def __call__(self, message: Message) -> None:
        """Translate and send one ASGI message."""
        if message["type"] == "http.response.start" and not self.raw:
            self._head = message
            if _header(message, b"content-type").startswith(b"text/event-stream"):
                self._decoder = Decoder()
                self._frame(message)
                await self._send_head(None)
        elif message["type"] != "http.response.body" or self.raw:
            await self._send(message)
        elif self._decoder is not None:
            data = self._streamed(self._decoder, message.get("body", b""))
            if data or not message.get("more_body"):
                await self._send({**message, "body": data})
        else:
            assert self._head is not None
            wait = _header(self._head, b"retry-after").decode("latin-1")
            status, body = self._encoded(self._head["status"], message.get("body", b""), wait)
            self._head = {**self._head, "status": status}
            await self._send_head(len(body))
            await self._send({**message, "body": body})

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Translate and send a complete reply."""
        if not self.raw:
            status, body = self._encoded(status, body, dict(headers).get("retry-after", ""))
            lines = {**dict(headers), "content-length": str(len(body))}
            if request_id := lines.get("request-id"):
                lines["x-request-id"] = request_id
            headers = tuple(lines.items())
        await self._whole(status, headers, body)

    async def _send_head(self, length: int | None) -> None:
        assert self._head is not None
        kept = [line for line in self._head["headers"] if line[0] != b"content-length"]
        if length is not None:
            kept.append((b"content-length", b"%d" % length))
        if request_id := _header(self._head, b"request-id"):
            kept.append((b"x-request-id", request_id))
        await self._send({**self._head, "headers": kept})

    def _frame(self, head: Message) -> None:
        """Set the content type of the dialect's own stream format, if it has one."""
        encoder = self._the_encoder()
        if isinstance(encoder, FramesStreams) and encoder.content_type:
            self._ping = encoder.ping
            kept = [line for line in head["headers"] if line[0] != b"content-type"]
            kept.append((b"content-type", encoder.content_type.encode()))
            self._head = {**head, "headers": kept}

    def _streamed(self, decoder: Decoder, chunk: bytes) -> bytes:
        encoder, pieces = self._the_encoder(), list[bytes]()
        for item in decoder.feed(chunk):
            if item.type == "ping":
                pieces.append(self._ping)
            elif item.type == "error":
                error = as_object(item.data.get("error"))
                with self._contained():
                    pieces.append(encoder.error(500, error, streaming=True))
            elif item.type:  # not a comment of the upstream
                with self._contained():
                    pieces.append(encoder.event(item))
        return b"".join(pieces)

    def _encoded(self, status: int, body: bytes, wait: str) -> tuple[int, bytes]:
        """Status and body of a complete reply, in the dialect."""
        if not body:
            return status, body
        reply = loaded(body)
        encoder = self._the_encoder()
        with self._contained():
            if status < 400:
                return status, encoder.message(reply)
            known = {"type": error_type(status), "message": ""} | as_object(reply.get("error"))
            status = self.dialect.statuses.get(status, status)
            return status, encoder.error(status, known | {"retry_after": wait}, streaming=False)

    def _the_encoder(self) -> DialectEncoder:
        if self._encoder is None:
            with self._contained():
                self._encoder = self.dialect.encoder(self.original)
        return self._encoder

    @property
    def unsaid(self) -> Sequence[str]:
        """The parts of the reply that the dialect cannot express."""
        return self._encoder.unsaid if isinstance(self._encoder, NotesLosses) else ()

    def _contained(self) -> Contained:
        return Contained(self.plugin, "register_dialects")


class ForeignRelay:
    """An upstream's bytes in the client's own dialect, relayed without parsing.

    `chunks` raise `StreamInterrupted` if they stop early. `usage` returns the usage of the reply.
    """

    finished = True
    failed = False

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        usage: Callable[[], Mapping[str, Any]] | None = None,
        *,
        source: str = "",
    ) -> None:
        """`source` is the plugin that made `chunks`."""
        self._chunks = chunks
        self._source = source
        self._usage = usage
        self._held: list[bytes] = []

    def data(self, name: str) -> Mapping[str, Any]:
        """`message_start` with the usage, if the backend reports it; otherwise empty."""
        if name == "message_start" and self._usage is not None:
            return {"message": {"usage": self._usage()}}
        return {}

    async def prime(self) -> None:
        """Read and hold the first piece. Raises `StreamInterrupted` if there is none."""
        piece = await anext(self._chunks, None)
        if piece is None:
            raise StreamInterrupted("the stream ended before its first piece")
        self._held = [piece]

    def __aiter__(self) -> ForeignRelay:
        """The held piece, then the rest."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        return self._held.pop() if self._held else await next_of(self._chunks, self._source)


def record_translation(
    request: MessagesRequest, exchange: Exchange, attempt: Attempt | None = None
) -> None:
    """Record on the receipt what the translation to the Messages API lost for the backend of
    `attempt`; if that relays the client's own bytes, remove entries about fields that translation
    added."""
    original, relayed, lost = request.original, False, None
    if original is None:
        return
    if attempt is not None and isinstance(backend := attempt.backend, Relays):
        with Contained(backend.name, "relays"):
            relayed = backend.relays(request, attempt)
            lost = () if relayed else backend.losses(request, attempt)
    made_up = original.made_up if relayed and not request.deferred else ()
    void = {change.summary for change in request.changes if change.field in made_up}
    exchange.receipt[:] = [
        entry for entry in exchange.receipt if entry.stage != "decode" and entry.what not in void
    ]
    for what in original.notes if lost is None else lost:
        exchange.note(original.dialect, what, stage="decode")


def note_missing(reply: Reply, exchange: Exchange) -> None:
    """Record on the receipt what a relayed reply lacks although the client required it."""
    served, missing = exchange.served_by, reply.missing and reply.missing()
    if missing and served:
        what = f"the reply lacks {missing.what}; it is passed on unchanged"
        exchange.note(served.backend.name, what, stage="send")


def _header(head: Message, name: bytes) -> bytes:
    return next((value for key, value in head["headers"] if key == name), b"")
