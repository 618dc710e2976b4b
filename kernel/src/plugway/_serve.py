"""One HTTP exchange: read the request, run the pipeline, write the reply, tell how it ended.

The stages in between are in `_pipeline`; the rules of writing a stream are in `_stream`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal

import anyio
import orjson
from starlette.types import Receive, Scope, Send

from plugway._backend import Caller
from plugway._errors import (
    BackendError,
    Headers,
    HookError,
    Overloaded,
    PlugwayError,
    RequestRejected,
    StreamInterrupted,
    error_body,
    error_type,
)
from plugway._events import StreamEvent, collect, event, interrupted, replay
from plugway._exchange import Exchange, Outcome, OutcomeKind
from plugway._guard import ClientGone, read_body
from plugway._json import as_object
from plugway._pipeline import Limits, Pipeline, failure_reply, rejection_reply
from plugway._request import MessagesRequest
from plugway._response import DecodedStream, Reply
from plugway._stream import (
    Clock,
    EventRelay,
    RawRelay,
    Resources,
    Responder,
    timeout_of,
    write_events,
    write_raw,
)
from plugway._usage import usage_of
from plugway._validate import validate

log = logging.getLogger("plugway.exchange")

Endpoint = Literal["messages", "count_tokens", "explain"]

_MEMO_SECONDS: Final = 5.0
_CONNECTION = frozenset(
    b"host connection keep-alive te trailer transfer-encoding upgrade expect content-length"
    b" accept-encoding".split()
)
"""Headers of the connection with the client; no plugin or upstream is concerned with them."""


class WarmFailures:
    """Remembers, for a moment, failures that could only be told inside a stream.

    A client that gets an `error` event asks again at once without a stream (measured with Claude
    Code 2.1.329: `docs/errors.md`); it then gets the status that the stream could not carry.
    """

    def __init__(self) -> None:
        self._memo: dict[str, tuple[float, Reply]] = {}

    def remember(self, request: MessagesRequest, exchange: Exchange, reply: Reply) -> None:
        """Keep `reply` for the same request asked again."""
        self._memo[_fingerprint(request, exchange)] = (time.monotonic() + _MEMO_SECONDS, reply)

    def recall(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """The reply kept for this request, once."""
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
        """One exchange, from the first byte of its body to `finished`."""
        try:
            body = await read_body(
                scope, receive, max_bytes=self._max_body, deadline_seconds=self._body_seconds
            )
        except ClientGone:
            return
        except RequestRejected as error:
            await refuse(error, scope, send)
            return
        request = MessagesRequest(
            body,
            tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
                if name not in _CONNECTION
            ),
            query=scope["query_string"].decode("latin-1"),
        )
        self.active += 1
        try:
            await _Run(self, endpoint, request, scope, receive, send).run()
        finally:
            self.active -= 1
            if not self.active:
                self._idle.set()

    async def idle(self) -> None:
        """Return when no exchange is in flight."""
        while self.active:
            self._idle = anyio.Event()
            await self._idle.wait()

    def admit(self) -> None:
        """Raises `Overloaded` where too many exchanges are in flight."""
        if self.active > self.limits.max_streams:
            raise Overloaded(f"the gateway already serves {self.limits.max_streams} requests")

    @property
    def warm_failures(self) -> WarmFailures:
        """Failures that were told inside a stream."""
        return self._warm_failures


class _Run:
    """The state of one exchange while it is served."""

    def __init__(
        self,
        server: ExchangeServer,
        endpoint: Endpoint,
        request: MessagesRequest,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.server = server
        self.pipeline = server.pipeline
        self.endpoint: Endpoint = endpoint
        self.request = request
        self.receive = receive
        self.request_id: str | None = scope.get("plugway.request_id")
        self.caller: Caller | None = scope.get("plugway.caller")
        self.exchange: Exchange | None = None
        self.resources = Resources()
        self.gone = False
        self.error = ""
        self.first_content: float | None = None
        self.relay: RawRelay | EventRelay | None = None
        self.message: dict[str, Any] = {}
        self.clock: Clock | None = None
        self.responder = Responder(send, _cut_of(scope), self._headers)

    async def run(self) -> None:
        """Serve it, whatever happens, and tell the plugins how it ended."""
        # A task group would cost a fifth of all the time a small request takes (bench/gateway.py).
        loop = asyncio.get_running_loop()
        scope = anyio.CancelScope()
        watcher = loop.create_task(self._watch(scope))
        try:
            with scope:
                await self._serve(scope)
            if self.clock is not None and self.clock.verdict:
                self._broken_off(timeout_of(self.clock))
        finally:
            watcher.cancel()
            if self.clock is not None:
                self.clock.stop()
            if self.exchange is not None:
                await self._finish(self.exchange)

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Notice a client that leaves, also while the backend has not answered yet."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        scope.cancel()

    async def _serve(self, scope: anyio.CancelScope) -> None:
        try:
            self.request.body  # noqa: B018  # raises where it is not a JSON object
            exchange = self.exchange = Exchange(
                self.request, id=self.request_id, caller=self.caller, endpoint=self.endpoint
            )
            validate(self.request, counting=self.endpoint != "messages")
            self.server.admit()
        except RequestRejected as error:
            exchange = self.exchange or Exchange(MessagesRequest(b"{}"), id=self.request_id)
            self.exchange = exchange
            await self._whole(rejection_reply(error, exchange))
            return
        if self.endpoint == "messages":
            await self._messages(exchange, scope)
        else:
            await self._asked(exchange)

    async def _asked(self, exchange: Exchange) -> None:
        """`count_tokens` and `explain`: answers without inference."""
        try:
            if self.endpoint == "explain":
                reply = Reply.message(await self.pipeline.explain(self.request, exchange))
            else:
                reply = await self.pipeline.count(self.request, exchange)
        except (RequestRejected, HookError) as error:
            self.error = str(error)
            reply = rejection_reply(error, exchange)
        except Exception:
            reply = self._defect(exchange)
        await self._whole(reply)

    async def _messages(self, exchange: Exchange, scope: anyio.CancelScope) -> None:
        if self.request.stream:
            self.clock = self._clock(scope)
            self.clock.start()
        await self._answer(exchange)

    def _clock(self, scope: anyio.CancelScope) -> Clock:
        limits = self.server.limits
        clock = Clock(
            scope,
            self.responder.ping,
            ping_seconds=limits.ping_seconds,
            idle_seconds=limits.idle_seconds,
            stalled_seconds=limits.stalled_client_seconds,
        )
        self.responder.clock = clock
        return clock

    async def _answer(self, exchange: Exchange) -> None:
        reply = self.server.warm_failures.recall(self.request, exchange)
        try:
            if reply is None:
                reply = await self.pipeline.run(self.request, exchange, self.resources)
            if reply.status >= 400:
                await self._failure(reply, exchange)
            elif self.request.stream:
                await self._stream(reply, exchange)
            else:
                await self._collected(reply, exchange)
        except (RequestRejected, HookError) as error:
            await self._failure(rejection_reply(error, exchange), exchange, error)
        except BackendError as error:
            if self.responder.state == "streaming":
                self._broken_off(error)
            else:
                await self._failure(failure_reply(error, exchange), exchange, error)
        except Exception:
            if self.responder.state == "streaming":
                log.exception("exchange %s failed", exchange.id)
                self._broken_off(StreamInterrupted("a defect of the gateway; see the log"))
            else:
                await self._failure(self._defect(exchange), exchange)

    async def _collected(self, reply: Reply, exchange: Exchange) -> None:
        """A client that wants the whole message."""
        if reply.is_stream:
            events = reply.events
            if events is None:
                assert reply.chunks is not None
                self.relay = EventRelay(DecodedStream(reply.chunks))
                events = self.relay
            self.message = await collect(self._layered(events, exchange))
            reply = Reply.message(self.message, headers=_without_type(reply.headers))
        elif reply.body is not None:
            self.message = as_object(_loads(reply.body))
        self.first_content = exchange.seconds
        await self._whole(reply)

    async def _stream(self, reply: Reply, exchange: Exchange) -> None:
        """A client that wants a stream."""
        self.first_content = exchange.seconds
        if reply.body is not None:
            events = EventRelay(_replayed(reply.body))
            reply = reply.replace(headers=_without_type(reply.headers))
        elif reply.events is not None:
            events = reply.events
        else:
            assert reply.chunks is not None
            raw = reply.chunks if isinstance(reply.chunks, RawRelay) else RawRelay(reply.chunks)
            self.relay = raw
            decoded = DecodedStream(raw)
            events = self._layered(decoded, exchange)
            if events is decoded:
                await self.responder.begin(reply.headers)
                await write_raw(raw, self.responder)
                await self.responder.end()
                return
        if self.relay is None:
            self.relay = events if isinstance(events, EventRelay) else None
            events = self._layered(events, exchange)
        await self.responder.begin(reply.headers)
        await write_events(events, self.responder)
        await self.responder.end()

    def _layered(self, events: Any, exchange: Exchange) -> Any:
        layers = self.pipeline.hooks.transform_stream(events, exchange)
        for layer in layers:
            self.resources.add(layer.aclose)
        return layers[-1] if layers else events

    # ── failures ─────────────────────────────────────────────────────────────────────────────

    async def _failure(
        self, reply: Reply, exchange: Exchange, error: PlugwayError | None = None
    ) -> None:
        """Tell a failure before any content: as a status, or in a stream that is warm already."""
        body = reply.body or b""
        self.error = str(error) if error else body[:300].decode("utf-8", "replace")
        if self.responder.state != "warm":
            await self._whole(reply)
            return
        if _heals(reply):
            self.responder.cut()
            return
        self.server.warm_failures.remember(self.request, exchange, reply)
        parsed = as_object(_loads(body)) or {
            "error": {"type": error_type(reply.status), "message": self.error}
        }
        detail = event("error", **{k: v for k, v in parsed.items() if k != "type"})
        await self.responder.begin(())
        await self.responder.chunk(detail.encode())
        await self.responder.end()

    def _broken_off(self, error: BackendError) -> None:
        """A stream fails after its first content: cut it, so that the client heals (E-21, E-23)."""
        self.error = str(error)
        fields = {"request_id": self.request_id, "error": self.error}
        log.warning("stream cut: %s", self.error, extra=fields)
        if self.responder.state not in {"new", "done"}:
            self.responder.cut()

    def _defect(self, exchange: Exchange) -> Reply:
        log.exception("exchange %s failed", exchange.id)
        message = "a defect of the gateway stopped this request; its log has the details"
        body = error_body("api_error", message, exchange.id)
        return Reply.whole(500, body, headers=(("content-type", "application/json"),))

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _whole(self, reply: Reply) -> None:
        await self.responder.whole(reply.status, reply.headers, reply.body or b"")

    def _headers(self) -> Headers:
        exchange = self.exchange
        if exchange is None:
            return (("request-id", self.request_id or ""),)
        lines: Headers = (
            ("request-id", exchange.id),
            ("plugway-request-id", exchange.id),
            ("plugway-receipt", exchange.receipt_header()),
        )
        return lines

    async def _finish(self, exchange: Exchange) -> None:
        await self.resources.aclose()
        outcome = self._outcome(exchange)
        if self.pipeline.hooks.has("finished"):
            with anyio.move_on_after(5, shield=True):
                await self.pipeline.hooks.finished(exchange, outcome)
        if log.isEnabledFor(logging.INFO):
            _log_line(exchange, outcome)

    def _outcome(self, exchange: Exchange) -> Outcome:
        responder = self.responder
        kind: OutcomeKind = "completed"
        if self.clock is not None and self.clock.client_stalled:
            kind = "disconnected"
        elif responder.state != "done":
            kind = "disconnected" if self.gone else "failed"
        elif self.error:
            kind = "rejected" if 400 <= responder.status < 500 else "failed"
        elif self.relay is not None and self.relay.failed:
            kind = "failed"
            self.error = str(interrupted(self.relay.data("error")))
        usage, stop_reason = usage_of(self.relay, self.message)
        return Outcome(
            kind,
            responder.status,
            exchange.seconds,
            self.first_content,
            usage,
            stop_reason,
            self.error,
        )


async def refuse(error: RequestRejected, scope: Scope, send: Send) -> None:
    """Answer a request that is not even read."""
    request_id: str = scope.get("plugway.request_id", "")
    exchange = Exchange(MessagesRequest(b"{}"), id=request_id or None)
    reply = rejection_reply(error, exchange)
    responder = Responder(send, _cut_of(scope), lambda: (("request-id", exchange.id),))
    await responder.whole(reply.status, reply.headers, reply.body or b"")


def _cut_of(scope: Scope) -> Callable[[], None]:
    extensions: dict[str, Any] = scope.get("extensions") or {}
    cut: Callable[[], None] = extensions.get("plugway.cut", _raise_cut)
    return cut


def _raise_cut() -> None:
    """A server without our extension breaks the connection when the application fails."""
    raise StreamInterrupted("the stream is broken off")


def _heals(reply: Reply) -> bool:
    retry = reply.header("x-should-retry")
    return reply.status >= 429 and reply.status != 501 and retry != "false"


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


async def _replayed(body: bytes) -> AsyncIterator[StreamEvent]:
    for item in replay(as_object(_loads(body))):
        yield item


def _without_type(headers: Headers) -> Headers:
    kept = tuple(line for line in headers if line[0] != "content-type")
    return (*kept, ("content-type", "application/json"))


def _log_line(exchange: Exchange, outcome: Outcome) -> None:
    served = exchange.served_by.target if exchange.served_by else "-"
    log.info(
        "%s %s %s %s",
        exchange.endpoint,
        served,
        outcome.status,
        outcome.kind,
        extra={
            "request_id": exchange.id,
            "session_id": exchange.session_id,
            "model": exchange.model_asked,
            "served_by": served,
            "status": outcome.status,
            "outcome": outcome.kind,
            "ms": round(outcome.seconds * 1000, 1),
            "input_tokens": outcome.usage.input_tokens,
            "output_tokens": outcome.usage.output_tokens,
            "error": outcome.error[:300],
        },
    )
