"""Accepts exchanges: reads request bodies, limits concurrency, and runs each exchange.

`exchange/run` serves a single exchange.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import anyio
import orjson
from starlette.types import Receive, Scope, Send

from plugway.exchange.body import ClientGone, read_body, too_large
from plugway.exchange.channel import channel_of
from plugway.exchange.dialect import DialectChannel
from plugway.exchange.failures import rejection_reply
from plugway.exchange.pipeline import Limits, Pipeline
from plugway.exchange.pressure import PRESSURE
from plugway.exchange.run import ExchangeRun
from plugway.exchange.validate import validate
from plugway.exchange.writer import Responder
from plugway.plugins.contain import Contained
from plugway.types.bounds import aside, check_values, is_heavy
from plugway.types.dialect import Deferred
from plugway.types.errors import Headers, HookError, RequestRejected
from plugway.types.exchange import Endpoint, Exchange
from plugway.types.request import MessagesRequest, Original
from plugway.types.response import Reply
from plugway.upstream.lines import named_by

log = logging.getLogger("plugway.exchange")

_MEMO_SECONDS: Final = 5.0
_CONNECTION = frozenset(
    b"host connection keep-alive te trailer transfer-encoding upgrade expect content-length"
    b" accept-encoding".split()
)
"""Headers of the client connection, which are not passed on."""

_CONNECTION_OPTIONS: Final = frozenset(("keep-alive", "close"))
"""Values of `connection` that do not name a header."""


class WarmFailures:
    """Remembers, for a few seconds, failures that were reported inside a stream.

    A client that gets an `error` event retries at once without streaming (measured with Claude
    Code 2.1.329: `docs/errors.md`); it then gets the status that the stream could not carry.
    """

    def __init__(self) -> None:
        self._memo: dict[str, tuple[float, Reply]] = {}

    def remember(self, request: MessagesRequest, exchange: Exchange, reply: Reply) -> None:
        """Keep `reply` for a retry of the same request."""
        self._memo[_fingerprint(request, exchange)] = (time.monotonic() + _MEMO_SECONDS, reply)

    def recall(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """Remove and return the reply kept for this request."""
        if not self._memo:
            return None
        now = time.monotonic()
        self._memo = {k: v for k, v in self._memo.items() if v[0] > now}
        found = self._memo.pop(_fingerprint(request, exchange), None)
        return found[1] if found else None


def _fingerprint(request: MessagesRequest, exchange: Exchange) -> str:
    body = {k: v for k, v in request.body.items() if k != "stream"}
    text = orjson.dumps([exchange.caller.name, exchange.session_id, body])
    return hashlib.sha256(text).hexdigest()


class ExchangeServer:
    """Serves the exchanges of one snapshot of the configuration."""

    def __init__(
        self, pipeline: Pipeline, limits: Limits, *, max_body_bytes: int, body_seconds: float
    ) -> None:
        self.pipeline = pipeline
        self.limits = limits
        self.active = 0
        """Exchanges in flight."""
        self._max_body = max_body_bytes
        self._body_seconds = body_seconds
        self._warm_failures = WarmFailures()
        self._idle = anyio.Event()

    async def serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange, from the first byte of its body to `finished`."""
        body = await self.body(scope, receive, send)
        if body is None:
            return
        lines = _forwarded(scope["headers"])
        query = scope["query_string"].decode("latin-1")
        channel: DialectChannel | None = scope.get("plugway.dialect")
        if channel is None:
            request = MessagesRequest(body, lines, query=query)
        else:
            try:
                read = partial(_decoded, channel, body, lines, scope["plugway.caller"].name, query)
                request = await aside(is_heavy(body), read)
            except (RequestRejected, HookError) as error:
                await refuse(error, scope, receive, send)
                return
        self.active += 1
        try:
            await ExchangeRun(self, endpoint, request, scope, receive, send).run()
        finally:
            self.active -= 1
            if not self.active:
                self._idle.set()

    async def body(self, scope: Scope, receive: Receive, send: Send) -> bytes | None:
        """Read the whole body within the limits; None if the client left or was rejected."""
        try:
            body = channel_of(scope, receive, send).whole_body()
            if body is None:
                body = await read_body(
                    scope, receive, max_bytes=self._max_body, deadline_seconds=self._body_seconds
                )
            if len(body) > self._max_body:
                raise too_large(self._max_body)
            await check_values(body)
            return body
        except ClientGone:
            return None
        except RequestRejected as error:
            await refuse(error, scope, receive, send)
            return None

    async def idle(self) -> None:
        """Wait until no exchange is in flight."""
        while self.active:
            self._idle = anyio.Event()
            await self._idle.wait()

    def admit(self) -> None:
        """Raise `RequestRejected` if too many exchanges are in flight, or memory runs out."""
        if PRESSURE.state != "calm":
            message = "the gateway is short of memory or open files; see `plugway status`"
            raise RequestRejected(message, status=529, record=True)
        if self.active > self.limits.max_streams:
            message = f"the gateway is already serving {self.limits.max_streams} requests"
            raise RequestRejected(message, status=529, record=True)

    @property
    def warm_failures(self) -> WarmFailures:
        """Failures that were reported inside a stream."""
        return self._warm_failures


def _forwarded(received: list[tuple[bytes, bytes]]) -> Headers:
    """The request's headers without those of the client connection (RFC 9110, 7.6.1)."""
    lines = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in received
        if name not in _CONNECTION
    ]
    named = named_by([v.decode("latin-1") for name, v in received if name == b"connection"])
    if named <= _CONNECTION_OPTIONS:
        return tuple(lines)
    return tuple([line for line in lines if line[0] not in named])


def _decoded(
    channel: DialectChannel, body: bytes, headers: Headers, caller: str, query: str
) -> MessagesRequest:
    """Translate a request of another dialect to the Messages API. Raises `RequestRejected`."""
    dialect = channel.dialect
    original = Original(dialect.name, channel.original.path, body, headers, caller, query)

    def encoded(decode: Callable[[], Mapping[str, Any]]) -> bytes:
        with Contained(channel.plugin, "register_dialects"):
            return orjson.dumps(decode())

    def validated(decode: Callable[[], Mapping[str, Any]]) -> bytes:
        raw = encoded(decode)
        validate(MessagesRequest(raw))
        return raw

    with Contained(channel.plugin, "register_dialects"):
        found = dialect.decode(original)
    channel.original = original
    if isinstance(found, Deferred) and not original.heavy:
        return original.deferred(found.known, partial(validated, found.decode))
    inner = encoded(found.decode if isinstance(found, Deferred) else lambda: found)
    return MessagesRequest(inner, headers, original=original)


async def refuse(
    error: RequestRejected | HookError, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send an error response to a request before it becomes an exchange."""
    request_id: str = scope.get("plugway.request_id", "")
    caller = scope.get("plugway.caller")
    exchange = Exchange(MessagesRequest(b"{}"), id=request_id or None, caller=caller)
    reply = rejection_reply(error, exchange)
    channel = channel_of(scope, receive, send)
    responder = Responder(send, channel, lambda: (("request-id", exchange.id),))
    await responder.whole(reply.status, reply.headers, reply.body or b"")
