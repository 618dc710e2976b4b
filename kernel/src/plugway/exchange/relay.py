"""Relays replies: holds them until the first content event, then follows them to the end.

`exchange/writer` writes the bytes to the client.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol, get_args

import anyio.lowlevel

from plugway.exchange.dialect import ForeignRelay
from plugway.exchange.writer import Resources, Responder
from plugway.plugins.contain import Attributed, next_of
from plugway.types.backend import Usage
from plugway.types.exchange import Exchange, Outcome
from plugway.types.response import Reply
from plugway_log import CleanStream
from plugway_wire.emitter import Order, StopReason
from plugway_wire.errors import BackendProtocolError, StreamInterrupted
from plugway_wire.events import StreamEvent, interrupted, renamed
from plugway_wire.gather import MAX_EVENT_BYTES
from plugway_wire.json import as_object, edit
from plugway_wire.shape import wrong_in_message
from plugway_wire.sse import Decoder, StreamScan

MAX_TOGETHER_BYTES: Final = 16 * 1024
"""Events that have already arrived are sent to the client in one piece of up to this size."""

MAX_RELAYED_BYTES: Final = 512 * 1024
"""Bytes that are not parsed are passed on in pieces of up to this size."""


class Watched(Protocol):
    """A stream whose progress the kernel follows."""

    @property
    def finished(self) -> bool:
        """The backend reported the end of the reply."""
        ...

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of the last `message_start`, `message_delta` or `error`."""
        ...


class RawRelay:
    """An upstream's bytes, scanned for events but not parsed."""

    def __init__(
        self, chunks: AsyncIterator[bytes], *, cut_on_error: bool = False, source: str = ""
    ) -> None:
        """`source` is the plugin that made `chunks`."""
        self._chunks = chunks
        self._source = source
        self._cut_on_error = cut_on_error
        self._held: list[bytes] = []
        self._scan = StreamScan()

    @property
    def finished(self) -> bool:
        """`message_stop` has passed."""
        return self._scan.finished

    @property
    def failed(self) -> bool:
        """An `error` event has passed."""
        return self._scan.failed

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of the last event of that name."""
        return self._scan.data(name)

    async def prime(self) -> None:
        """Read and hold everything up to the first content event.

        Raises `BackendError`: the stream fails, or ends, before it.
        """
        scan, size = self._scan, 0
        while not scan.content:
            chunk = await anext(self._chunks, None)
            if chunk is not None:
                size += len(chunk)
                if size > MAX_EVENT_BYTES:
                    raise BackendProtocolError(f"no content within {MAX_EVENT_BYTES} bytes")
                self._held.append(chunk)
                scan.feed(chunk)
            if scan.failed and (self._cut_on_error or not scan.content):
                raise interrupted(scan.data("error"))
            if chunk is None:
                raise _ended_early(scan.started, any(self._held))
        chunks: Any = self._chunks
        if hasattr(chunks, "most"):  # an `upstream.Body`, or a backend's wrapper around it
            chunks.most = MAX_RELAYED_BYTES

    def rename(self, model: str) -> None:
        """Set the model of the held `message_start`; every other byte is unchanged."""
        held = b"".join(self._held)
        for item in Decoder().feed(held):
            if item.type == "message_start":
                self._held = [held.replace(item.encode(), renamed(item, model).encode(), 1)]
                return

    def __aiter__(self) -> RawRelay:
        """The held bytes, then the rest."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises `StreamInterrupted` after an error if `cut_on_error` is set."""
        if self._held:
            return self._held.pop(0)
        chunk = await next_of(self._chunks, self._source)
        self._scan.feed(chunk)
        if self._cut_on_error and self._scan.failed:
            raise interrupted(self._scan.data("error"))
        return chunk


class EventRelay(Attributed):
    """Events from a backend, checked for their order."""

    def __init__(self, events: AsyncIterable[StreamEvent], *, source: str = "") -> None:
        """`source` is the plugin that made `events`."""
        self._events = aiter(events)
        self._source = source
        self._held: list[StreamEvent] = []
        self._order = Order()
        self._data: dict[str, Mapping[str, Any]] = {}
        self.failed = False

    @property
    def finished(self) -> bool:
        """`message_stop` has passed."""
        return self._order.ended

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of the last event of that name."""
        return self._data.get(name, {})

    async def prime(self) -> None:
        """Read and hold everything up to the first content event. Raises `BackendError`."""
        while True:
            item = await anext(self._events, None)
            if item is None:
                raise _ended_early("message_start" in self._data, bool(self._held))
            self._note(item)
            if self.failed:
                raise interrupted(item.data)
            self._held.append(item)
            if item.type in {"content_block_start", "message_delta"}:
                return

    def rename(self, model: str) -> None:
        """Set the model of the held `message_start`."""
        self._held = [
            renamed(item, model) if item.type == "message_start" else item for item in self._held
        ]

    def __aiter__(self) -> EventRelay:
        """The held events, then the rest."""
        return self

    @property
    def pending(self) -> bool:
        """Whether the next event is available without waiting."""
        return bool(self._held) or has_pending(self._events)

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        if self._held:
            return self._held.pop(0)
        item = await next_of(self._events, self._source)
        self._note(item)
        return item

    async def aclose(self) -> None:
        """Do nothing: the kernel closes the reply that owns the events."""

    def _note(self, item: StreamEvent) -> None:
        self._order.check(item)
        if item.type in {"message_start", "message_delta", "error"}:
            self._data[item.type] = item.data
            self.failed = self.failed or item.type == "error"


def _ended_early(started: bool, any_bytes: bool) -> Exception:
    if started or not any_bytes:
        return StreamInterrupted("the stream ended before its first content")
    return BackendProtocolError("the response is not an Anthropic event stream (no `event:` lines)")


async def write_raw(relay: RawRelay | ForeignRelay, responder: Responder) -> None:
    """Relay bytes. Raises `StreamInterrupted` if they stop before the end of the reply."""
    stream = CleanStream()
    async for chunk in relay:
        if clean := stream.feed(chunk):
            await responder.chunk(clean)
    if held := stream.flush():
        await responder.chunk(held)
    if not (relay.finished or relay.failed):
        raise StreamInterrupted("the upstream ended its stream without `message_stop`")


async def write_events(events: AsyncIterable[StreamEvent], responder: Responder) -> None:
    """Check and write events, which may come from a plugin's layer."""
    order, together, size = Order(), list[bytes](), 0
    async for item in events:
        if item.type == "error":
            raise interrupted(as_object(item.data))
        order.check(item)
        together.append(item.encode())
        size += len(together[-1])
        if not order.ended and size < MAX_TOGETHER_BYTES and has_pending(events):
            continue
        await responder.chunk(b"".join(together))
        await anyio.lowlevel.checkpoint()
        if order.ended:
            return
        together, size = [], 0
    raise StreamInterrupted("the stream ended without `message_stop`")


def has_pending(events: object) -> bool:
    """Whether a stream reports with `pending` that its next event is available."""
    return getattr(events, "pending", False) is True


async def primed(reply: Reply, resources: Resources, source: str = "") -> Reply:
    """`reply`, from the plugin `source`, after its first content event was read and held; it is
    closed if that fails."""
    if not reply.is_stream:
        if not reply.dialect and reply.status < 400 and (wrong := wrong_in_message(reply.parsed)):
            await reply.close()
            raise BackendProtocolError(f"invalid value of `{wrong}` in the response")
        return reply
    relay: RawRelay | EventRelay | ForeignRelay
    if reply.chunks is not None and reply.dialect:
        relay = ForeignRelay(reply.chunks, reply.usage, source=source)
        reply = reply.replace(chunks=relay)
    elif reply.chunks is not None:
        relay = RawRelay(reply.chunks, cut_on_error=reply.cut_on_error, source=source)
        reply = reply.replace(chunks=relay)
    else:
        assert reply.events is not None
        relay = EventRelay(reply.events, source=source)
        reply = reply.replace(events=relay)
    own = Resources()
    own.add(reply.close)
    try:
        await relay.prime()
    except BaseException:
        await own.aclose()
        raise
    resources.add(own.aclose)
    return reply


def with_model(reply: Reply, model: str) -> Reply:
    """`reply` with the model that the client requested, otherwise unchanged."""
    relay = reply.events if reply.chunks is None else reply.chunks
    if isinstance(relay, RawRelay | EventRelay):
        relay.rename(model)
    elif reply.body is not None and reply.body.lstrip().startswith(b"{"):
        with suppress(ValueError, IndexError):  # not JSON: unchanged
            return reply.replace(body=edit(reply.body, {"model": model}, frozenset()))
    return reply


log = logging.getLogger("plugway.exchange")

_COUNTS: Final = ("input", "output", "cache_read_input", "cache_creation_input")
_REASONS: Final = frozenset(get_args(StopReason))
_BLANK: Final = vars(
    logging.makeLogRecord({"name": log.name, "levelno": logging.INFO, "levelname": "INFO"})
)


def usage_of(relay: Watched | None, message: Mapping[str, Any]) -> tuple[Usage, str | None]:
    """Usage and stop reason of a relayed stream, or of a whole message."""
    if relay is None or not (start := relay.data("message_start")):
        return parse_usage(as_object(message.get("usage"))), _reason(message.get("stop_reason"))
    end = relay.data("message_delta")
    first = as_object(as_object(start.get("message")).get("usage"))
    last = {k: v for k, v in as_object(end.get("usage")).items() if v is not None}
    reason = as_object(end.get("delta")).get("stop_reason")
    return parse_usage({**first, **last}), _reason(reason)


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """The counts of an Anthropic `usage` object; missing or absurd ones are 0."""
    counts = [usage.get(f"{what}_tokens") for what in _COUNTS]
    return Usage(*[n if isinstance(n, int) and 0 <= n < 2**40 else 0 for n in counts])


def _reason(value: Any) -> str | None:
    """The stop reason if the API documents it; other texts of an upstream are not logged."""
    return value if isinstance(value, str) and value in _REASONS else None


def log_outcome(exchange: Exchange, outcome: Outcome) -> None:
    """Log one line for the exchange, without any of its content."""
    if not log.isEnabledFor(logging.INFO):
        return
    served = exchange.served_by.target if exchange.served_by else "-"
    # The record of `log.info(..., extra=...)`, at a quarter of its cost.
    now = time.time()
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__.update(
        _BLANK,
        created=now,
        msecs=now % 1 * 1000,
        msg=f"{exchange.endpoint} {served} {outcome.status} {outcome.kind}",
        request_id=exchange.id,
        caller=exchange.caller.name,
        session_id=exchange.session_id,
        model=exchange.model_asked,
        served_by=served,
        status=outcome.status,
        outcome=outcome.kind,
        ms=round(outcome.seconds * 1000, 1),
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        error=outcome.error[:300],
    )
    log.handle(record)
