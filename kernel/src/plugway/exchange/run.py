"""Serves one exchange: runs the pipeline, writes the reply, reports the outcome.

`exchange/pipeline` has the stages; `exchange/writer` has the rules of writing a stream.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint
from starlette.types import Receive, Scope, Send

from plugway.exchange.dialect import DialectChannel, ForeignRelay, note_missing
from plugway.exchange.dry import count, explain
from plugway.exchange.failures import (
    defect_reply,
    failure_reply,
    is_retryable,
    log_error,
    rejection_reply,
)
from plugway.exchange.grants import check_grants
from plugway.exchange.relay import (
    EventRelay,
    RawRelay,
    log_outcome,
    usage_of,
    write_events,
    write_raw,
)
from plugway.exchange.validate import validate
from plugway.exchange.writer import Clock, Resources, Responder, channel_of, timeout_of
from plugway.plugins.contain import is_defect, unwound
from plugway.types.backend import Caller
from plugway.types.errors import HookError
from plugway.types.exchange import Endpoint, Exchange, Outcome, OutcomeKind
from plugway.types.request import MessagesRequest
from plugway.types.response import DecodedStream, Reply
from plugway_http.cancel import Cancellable
from plugway_wire.errors import (
    BackendError,
    BackendProtocolError,
    Headers,
    PlugwayError,
    RequestRejected,
    StreamInterrupted,
    error_type,
)
from plugway_wire.events import check_inputs, collect, event, interrupted, replayed
from plugway_wire.json import loaded
from plugway_wire.reason import reason_in

if TYPE_CHECKING:
    from plugway.exchange.intake import ExchangeServer

log = logging.getLogger("plugway.exchange")


class ExchangeRun:
    """The state of one exchange while it is served."""

    exchange: Exchange | None = None
    client_gone = False
    error = ""
    first_content: float | None = None
    """Seconds until the first content was sent."""
    relay: RawRelay | EventRelay | ForeignRelay | None = None
    clock: Clock | None = None

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
        self.channel = channel_of(scope, receive, send)
        self.request_id: str | None = scope.get("plugway.request_id")
        self.caller: Caller | None = scope.get("plugway.caller")
        self.dialect_channel: DialectChannel | None = scope.get("plugway.dialect")
        self.resources = Resources()
        self.message: Mapping[str, Any] = {}
        self.responder = Responder(send, self.channel, self._headers)

    async def run(self) -> None:
        """Serve the exchange, and report the outcome to the plugins in any case."""
        # A task group would take a fifth of the time of a small request (bench/gateway.py).
        scope = Cancellable()
        unwatch = self._watch(scope)
        try:
            with scope:
                await self._serve(scope)
            if self.clock is not None and self.clock.verdict:
                self._interrupted(timeout_of(self.clock))
        finally:
            unwatch()
            if self.clock is not None:
                self.clock.stop()
            if self.exchange is not None:
                await self._finish(self.exchange)
            self.responder.release()

    def _watch(self, scope: Cancellable) -> Callable[[], object]:
        """Cancel the exchange when the client leaves, even before the backend responds."""

        def client_left() -> None:
            self.client_gone = True
            if self.exchange is None or not self.exchange.keeps_running(scope.cancel):
                scope.cancel()

        return self.channel.on_leave(client_left)

    async def _serve(self, scope: Cancellable) -> None:
        try:
            arrived = not self.request.deferred
            if arrived:
                # Both raise if the body is not a JSON object.
                _ = self.request.body if self.pipeline.reads_all else self.request.fields
            exchange = self.exchange = Exchange(
                self.request, id=self.request_id, caller=self.caller, endpoint=self.endpoint
            )
            if self.request.heavy:
                await checkpoint()
            if arrived:
                validate(self.request, counting=self.endpoint != "messages")
            if self.request.heavy:
                await checkpoint()
            if exchange.caller.limited:
                check_grants(self.request, exchange.caller)
            self.server.admit()
            await self.pipeline.hooks.identify(self.request, exchange)
        except RequestRejected as error:
            exchange = self.exchange or Exchange(
                MessagesRequest(b"{}"),
                id=self.request_id,
                caller=self.caller,
                endpoint=self.endpoint,
            )
            self.exchange = exchange
            self.error = error.record
            await self._whole(rejection_reply(error, exchange))
            return
        if self.endpoint != "messages":
            await self._dry_run(exchange)
            return
        if self.request.stream:
            self.clock = self._clock(scope)
            self.clock.start()
        await self._answer(exchange)

    async def _dry_run(self, exchange: Exchange) -> None:
        """Reply to `count_tokens` and `explain`, without inference."""
        try:
            if self.endpoint == "explain":
                reply = Reply.message(await explain(self.pipeline, self.request, exchange))
            else:
                reply = await count(self.pipeline, self.request, exchange)
        except (RequestRejected, HookError) as error:
            self.error = error.record
            reply = rejection_reply(error, exchange)
        except BaseException as error:
            if not is_defect(error):
                raise
            reply = defect_reply(exchange)
        await self._whole(reply)

    def _clock(self, scope: Cancellable) -> Clock:
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
            elif reply.dialect:
                await self._foreign(reply, exchange)
            elif self.request.stream:
                await self._stream(reply, exchange)
            else:
                await self._collected(reply, exchange)
        except BaseException as error:
            if not is_defect(error):
                raise
            await self._failed(error, exchange)

    async def _foreign(self, reply: Reply, exchange: Exchange) -> None:
        """Relay the bytes of a backend that speaks the client's own dialect unchanged."""
        if self.dialect_channel is None or self.dialect_channel.dialect.name != reply.dialect:
            raise BackendProtocolError(f"a reply in `{reply.dialect}` was not requested")
        self.first_content = exchange.seconds
        if (chunks := reply.chunks) is not None:
            raw = chunks if isinstance(chunks, ForeignRelay) else ForeignRelay(chunks, reply.usage)
            self.relay = raw
            self.dialect_channel.raw = True
            await self._relayed(raw, reply.headers)
            note_missing(reply, exchange)
        elif self.responder.state != "new":
            raise BackendProtocolError("got a whole reply, but the client expects a stream")
        else:
            self.message = {"usage": reply.usage() if reply.usage else {}}
            self.dialect_channel.raw = True
            note_missing(reply, exchange)
            await self._whole(reply)

    async def _relayed(self, raw: RawRelay | ForeignRelay, headers: Headers) -> None:
        await self.responder.begin(headers)
        await write_raw(raw, self.responder)
        await self.responder.end()

    async def _collected(self, reply: Reply, exchange: Exchange) -> None:
        """Reply to a client that wants the whole message."""
        if reply.is_stream:
            events = reply.events
            if events is None:
                assert reply.chunks is not None
                self.relay = EventRelay(DecodedStream(reply.chunks))
                events = self.relay
            self.message = await collect(self._layered(events, exchange))
            reply = Reply.message(self.message, headers=reply.headers)
        elif reply.body is not None:
            self.message = reply.parsed
            check_inputs(self.message)
        self.first_content = exchange.seconds
        await self._whole(reply)

    async def _stream(self, reply: Reply, exchange: Exchange) -> None:
        """Reply to a client that wants a stream."""
        self.first_content = exchange.seconds
        if reply.body is not None:
            events = EventRelay(replayed(reply.parsed))
        elif reply.events is not None:
            made = reply.events  # not an `EventRelay` if a plugin made them
            events = made if isinstance(made, EventRelay) else EventRelay(made)
        else:
            assert reply.chunks is not None
            raw = reply.chunks if isinstance(reply.chunks, RawRelay) else RawRelay(reply.chunks)
            self.relay = raw
            decoded = DecodedStream(raw)
            events = self._layered(decoded, exchange)
            if events is decoded:
                await self._relayed(raw, reply.headers)
                return
        if self.relay is None:
            assert isinstance(events, EventRelay)
            self.relay = events
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

    async def _failed(self, error: BaseException, exchange: Exchange) -> None:
        """Report the exception that ended the exchange; call it in the `except` block."""
        known = unwound(error) if isinstance(error, PlugwayError) else None
        if self.responder.state == "streaming":
            if known is None:
                who = {"caller": exchange.caller.name}
                log.exception("exchange %s failed", exchange.id, extra=who)
            self._interrupted(known or StreamInterrupted("internal gateway error; see its log"))
        elif isinstance(error, BackendError):
            await self._failure(failure_reply(error, exchange), exchange, error)
        elif isinstance(error, RequestRejected | HookError):
            await self._failure(rejection_reply(error, exchange), exchange, error)
        else:
            await self._failure(defect_reply(exchange), exchange)

    async def _failure(
        self, reply: Reply, exchange: Exchange, error: PlugwayError | None = None
    ) -> None:
        """Report a failure before any content: as a status, or in a stream that has begun."""
        body = reply.body or b""
        self.error = error.record if error else log_error(exchange, reply)
        if self.responder.state != "warm":
            await self._whole(reply)
            return
        if is_retryable(reply):
            self.responder.cut()
            return
        self.server.warm_failures.remember(self.request, exchange, reply)
        parsed = loaded(body) or {
            "error": {"type": error_type(reply.status), "message": reason_in(body) or self.error}
        }
        detail = event("error", **{k: v for k, v in parsed.items() if k != "type"})
        await self.responder.begin(())
        await self.responder.chunk(detail.encode())
        await self.responder.end()

    def _interrupted(self, error: PlugwayError) -> None:
        """Cut a stream that fails after its first content, so that the client recovers."""
        self.error = error.record
        who = self.exchange.caller.name if self.exchange else None
        fields = {"request_id": self.request_id, "caller": who, "error": self.error}
        log.warning("stream cut: %s", self.error, extra=fields)
        if self.responder.state not in {"new", "done"}:
            self.responder.cut()

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _whole(self, reply: Reply) -> Awaitable[None]:
        return self.responder.whole(reply.status, reply.headers, reply.body or b"")

    def _headers(self) -> Headers:
        exchange = self.exchange
        if exchange is None:
            return (("request-id", self.request_id or ""),)
        return (
            ("request-id", exchange.id),
            ("plugway-request-id", exchange.id),
            ("plugway-receipt", exchange.receipt_header()),
        )

    async def _finish(self, exchange: Exchange) -> None:
        await self.resources.aclose()
        if (channel := self.dialect_channel) is not None:
            exchange.note_once(channel.dialect.name, channel.unsaid, stage="encode")
        outcome = self._outcome(exchange)
        await self.pipeline.hooks.finished(exchange, outcome)
        log_outcome(exchange, outcome)
        exchange.served_by = None  # a circle, which would keep the request until the next GC

    def _outcome(self, exchange: Exchange) -> Outcome:
        responder = self.responder
        kind: OutcomeKind = "completed"
        if self.clock is not None and self.clock.client_stalled:
            kind = "disconnected"
        elif responder.state != "done":
            kind = "disconnected" if self.client_gone else "failed"
        elif self.error:
            kind = "rejected" if 400 <= responder.status < 500 else "failed"
        elif self.relay is not None and self.relay.failed:
            kind = "failed"
            self.error = interrupted(self.relay.data("error")).record
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
