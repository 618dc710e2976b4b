"""Accepts exchanges: reads request bodies, limits concurrency, and runs each exchange.

`exchange/run` serves a single exchange.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
import orjson
from starlette.types import Message, Receive, Scope, Send

from plugway.exchange.dialect import DialectChannel
from plugway.exchange.failures import rejection_reply
from plugway.exchange.pipeline import Limits, Pipeline
from plugway.exchange.run import ExchangeRun
from plugway.exchange.validate import validate
from plugway.exchange.writer import Responder, channel_of
from plugway.plugins.contain import Contained
from plugway.plugins.plugin import Plugin
from plugway.types.dialect import Deferred, Dialect, KeyInQuery
from plugway.types.errors import HookError, PluginError
from plugway.types.exchange import EXCHANGES, Endpoint, Exchange
from plugway.types.request import MessagesRequest, Original
from plugway.types.response import Reply
from plugway.upstream.lines import named_by
from plugway_http.cancel import Resumed
from plugway_http.client import open_connections
from plugway_http.pressure import Pressure
from plugway_wire.bounds import aside, check_values, is_heavy
from plugway_wire.errors import Headers, InvalidRequest, PlugwayError, RequestRejected

log = logging.getLogger("plugway.exchange")

PRESSURE: Final = Pressure(outbound=open_connections)
"""How close this process is to its limits on files and memory."""
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
        self.warm_failures = WarmFailures()
        """Failures that were reported inside a stream."""
        self._idle: anyio.Event | None = None

    async def serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange, from the first byte of its body to `finished`."""
        body = await self.body(scope, receive, send, json=True)
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
            if not self.active and self._idle is not None:
                self._idle.set()

    async def body(self, scope: Scope, receive: Receive, send: Send, json: bool) -> bytes | None:
        """Read the whole body within the limits; None if the client left or was rejected."""
        try:
            body = channel_of(scope, receive, send).whole_body()
            if body is None:
                body = await read_body(
                    scope, receive, max_bytes=self._max_body, deadline_seconds=self._body_seconds
                )
            if len(body) > self._max_body:
                raise too_large(self._max_body)
            if json:
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


class DialectPaths:
    """The dialect that serves each path, with the name of its plugin."""

    def __init__(self, registered: Sequence[tuple[Plugin[Any], Dialect]]) -> None:
        """Raises `PluginError` if two dialects serve the same path."""
        self._exact: dict[str, tuple[str, Dialect]] = {}
        self._patterns: dict[tuple[str, str], tuple[str, Dialect]] = {}
        """By what comes before and after `{model}`."""
        self.key_places: list[tuple[str, str]] = []
        """Path prefixes, each with the query parameter that may contain the token."""
        for plugin, dialect in registered:
            for path in dialect.paths:
                self._add(path, plugin.name, dialect)
            if isinstance(dialect, KeyInQuery):
                self.key_places += dialect.key_places

    def find(self, path: str) -> tuple[str, Dialect] | None:
        """The plugin and dialect that serve POST requests to `path`."""
        found = self._exact.get(path)
        if found is not None or path in EXCHANGES:
            return found
        for (before, behind), one in self._patterns.items():
            if path.endswith(behind) and path.startswith(before):
                return one if len(path) > len(before) + len(behind) else None
        return None

    def _add(self, path: str, plugin: str, dialect: Dialect) -> None:
        before, mark, behind = path.partition("{model}")
        taken = (before, behind) in self._patterns if mark else path in self._exact
        if taken or path in EXCHANGES:
            raise PluginError(plugin, f"the path `{path}` is already served")
        if mark:
            self._patterns[before, behind] = plugin, dialect
        else:
            self._exact[path] = plugin, dialect


def _forwarded(received: list[tuple[bytes, bytes]]) -> Headers:
    """The request's headers without those of the client connection (RFC 9110, 7.6.1)."""
    lines = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in received
        if name not in _CONNECTION
    ]
    if b"connection" not in dict(received):
        return tuple(lines)
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


LARGE_BODY = 8 * 2**20


class ClientGone(PlugwayError):
    """The client closed the connection before its request was complete."""


def check_length(length: bytes | None, max_bytes: int) -> int:
    """The declared length, or 0. Raises `RequestRejected` if it is invalid or too large."""
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 18:
        raise InvalidRequest("`content-length` must be one decimal number")
    declared = int(length)
    if declared > max_bytes:
        raise too_large(max_bytes)
    return declared


def too_large(max_bytes: int) -> RequestRejected:
    """The error for a body that is larger than `max_bytes`."""
    message = f"request body is larger than {max_bytes} bytes"
    # The connection cannot be reused, because the rest of the body is not read.
    close = {"connection": "close"}
    return RequestRejected(message, status=413, headers=close, retry=False, record=True)


async def read_body(
    scope: Mapping[str, Any],
    receive: Receive,
    *,
    max_bytes: int,
    deadline_seconds: float = 30,
    floor_bytes_per_second: float = 16 * 1024,
) -> bytes:
    """Read the whole request body; bodies over 8 MiB are read one at a time.

    Raises `RequestRejected` (413, 408) and `ClientGone`. Every `floor_bytes_per_second` bytes
    received extend the deadline by a second.
    """
    length = dict(scope["headers"]).get(b"content-length")
    reader = _BodyReader(receive, max_bytes, deadline_seconds, floor_bytes_per_second)
    if check_length(length, max_bytes) > LARGE_BODY or not await reader.read_until(LARGE_BODY):
        async with scope.get("plugway.large_bodies") or anyio.Lock():
            await reader.read_until(max_bytes)
    return b"".join(reader.chunks)


@dataclass(slots=True)
class _BodyReader:
    receive: Receive
    max_bytes: int
    seconds: float
    floor: float
    size: int = 0
    chunks: list[bytes] = field(default_factory=list[bytes])
    limit: asyncio.Timeout | None = None

    async def read_until(self, size: int) -> bool:
        """Read until the body ends (True) or exceeds `size` bytes (False)."""
        self.limit = None
        reading = self._read_until(size)
        try:
            waits_for = reading.send(None)  # most bodies have already arrived and need no timer
        except StopIteration as read:
            return read.value
        try:
            async with asyncio.timeout(self.seconds) as self.limit:
                return await Resumed(reading, waits_for)
        except TimeoutError:
            message = f"request body stopped or was too slow after {self.size} bytes"
            close = {"connection": "close"}
            raise RequestRejected(
                message, status=408, type="timeout_error", headers=close, record=True
            ) from None

    async def _read_until(self, size: int) -> bool:
        before, moved = self.size, 0.0
        while self._take(await self.receive()):
            if self.size > size:
                return False
            if self.limit is not None and (when := self.limit.when()) is not None:
                earlier, moved = moved, (self.size - before) / self.floor
                self.limit.reschedule(when + moved - earlier)
        return True

    def _take(self, message: Message) -> bool:
        if message["type"] == "http.disconnect":
            raise ClientGone("the client disconnected before its request was complete")
        body = message.get("body", b"")
        self.size += len(body)
        if self.size > self.max_bytes:
            raise too_large(self.max_bytes)
        self.chunks.append(body)
        return message.get("more_body", False)
