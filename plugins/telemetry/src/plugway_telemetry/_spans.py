"""Turns a finished exchange into spans: one for the exchange, and one for each attempt.

Spans contain names, counts, times and ids. They never contain a prompt, a reply, a header, an
error text or a URL.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from plugway import Attempt, Exchange, Outcome
from plugway_log import redact
from plugway_telemetry import _names as names
from plugway_telemetry import _wire as wire
from plugway_telemetry._context import Context, new_span_id
from plugway_telemetry._store import OTHER, ModelNames
from plugway_telemetry._wire import Event, Value

MAX_TEXT: Final = 128
"""Longest text that a client or server chose, such as the name of a model."""
_STATUS: Final = re.compile(r"([1-5]\d\d) ")
_KNOWN: Final = frozenset(
    (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 501, 502, 503, 504, 529)
)
_REASONS: Final = frozenset(
    (
        *("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"),
        *("model_context_window_exceeded", "compaction"),
    )
)

_ERRORS: Final = {"answered": "", "cancelled": ""}
"""`error.type` of results that are no errors; it is the result for all others."""

Addresses = Mapping[str, tuple[str, int]]
"""Host and port of the server of each backend that has one."""


@dataclass(slots=True)
class Layer:
    """The time that one target of an exchange took, with its retries."""

    attempt: Attempt
    first: int
    """Index of its first record in `Exchange.attempts`."""
    began: float
    """Times as of `time.monotonic`."""
    last: int = 0
    ended: float = 0.0


@dataclass(slots=True)
class Watch:
    """What is remembered of an exchange until it ends."""

    context: Context | None
    stream: bool = False
    layers: list[Layer] = field(default_factory=list[Layer])


class Sent(NamedTuple):
    """One request to a backend."""

    attempt: Attempt
    result: str
    """`answered`, `cancelled`, `timeout`, a status, `error`, or `skipped` if nothing was sent."""
    began: float
    ended: float
    resends: int
    """How often this target was tried before in this exchange."""


def error_type(status: int) -> str:
    """A status as one of few values: itself if it is common, else its class."""
    return str(status) if status in _KNOWN else f"{status // 100}xx"


def result_of(text: str) -> str:
    """The kind of an attempt's result (`AttemptRecord.result`), without its text."""
    if text in ("answered", "cancelled"):
        return text
    if found := _STATUS.match(text):
        return error_type(int(found[1]))
    return "timeout" if "sent no content within" in text else "error"


def sent_by(exchange: Exchange, layers: Sequence[Layer]) -> list[Sent]:
    """The requests of an exchange with their times.

    The kernel records how long each took. The first of a target begins and the last ends with its
    layer; of three or more, those between are placed evenly, unless this plugin is listed after
    the one that retries.
    """
    found: list[Sent] = []
    for layer in layers:
        records = exchange.attempts[layer.first : layer.last]
        spent = sum(record.seconds for record in records)
        gaps = max(1, len(records) - 1)
        pause = max(0.0, layer.ended - layer.began - spent) / gaps
        at = layer.began if len(records) > 1 else layer.ended - spent
        for number, record in enumerate(records):
            result = result_of(record.result)
            found.append(Sent(layer.attempt, result, at, at + record.seconds, number))
            at += record.seconds + pause
        if not records:
            found.append(Sent(layer.attempt, "skipped", layer.began, layer.ended, 0))
    return found


class SpanWriter:
    """Writes the spans of exchanges."""

    def __init__(self, models: ModelNames, ids: str, addresses: Addresses) -> None:
        self._models = models
        self._ids = ids
        self._addresses = addresses

    def spans(
        self, exchange: Exchange, outcome: Outcome, watch: Watch, sent: Sequence[Sent]
    ) -> list[bytes]:
        """The exchange's spans, encoded; the context must be sampled."""
        context = watch.context
        assert context is not None
        zero = time.time_ns() - round(time.monotonic() * 1e9)
        span_id = new_span_id()
        ended = exchange.started + outcome.seconds
        first = outcome.first_content_seconds
        content = None if first is None else zero + round((exchange.started + first) * 1e9)
        events = [] if content is None else [Event(names.FIRST_CONTENT_EVENT, content, {})]
        asked = exchange.model_asked
        label = self._models.label(exchange.served_by.model) if exchange.served_by else OTHER
        spans: list[bytes] = []
        for number, one in enumerate(sent, start=1):
            if one.result == "skipped":
                moment = zero + round(one.began * 1e9)
                backend = {names.BACKEND: one.attempt.backend.name}
                events.append(Event(names.SKIPPED_EVENT, moment, backend))
                continue
            answers = one.result == "answered" and one is sent[-1]
            failed = answers and outcome.kind == "failed"
            error = error_of(outcome) if failed else _ERRORS.get(one.result, one.result)
            spans.append(
                wire.span(
                    trace_id=context.trace_id,
                    span_id=new_span_id(),
                    parent_id=span_id,
                    state=context.state,
                    name=self._name(self._models.label(one.attempt.model)),
                    kind=wire.CLIENT,
                    began=zero + round(one.began * 1e9),
                    ended=zero + round((ended if answers else one.ended) * 1e9),
                    attributes=self._attempt(one, number, error),
                    events=events[:1] if answers and content is not None else (),
                    status=wire.ERROR if error else wire.UNSET,
                )
            )
        spans.append(
            wire.span(
                trace_id=context.trace_id,
                span_id=span_id,
                parent_id=context.parent_id,
                state=context.state,
                name=self._name(label if label != OTHER else self._models.label(asked)),
                kind=wire.SERVER,
                began=zero + round(exchange.started * 1e9),
                ended=zero + round(ended * 1e9),
                attributes=self._exchange(exchange, outcome, watch),
                events=events,
                status=wire.ERROR if outcome.kind == "failed" else wire.UNSET,
            )
        )
        return spans

    def _name(self, model: str) -> str:
        """The name of a span, which must have few values."""
        return names.CHAT if model == OTHER else f"{names.CHAT} {shown(model)}"

    def _exchange(self, exchange: Exchange, outcome: Outcome, watch: Watch) -> dict[str, Value]:
        served = exchange.served_by
        found: dict[str, Value] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: provider_of(served),
            names.REQUEST_MODEL: shown(exchange.model_asked),
            names.CALLER: exchange.caller.name,
            names.OUTCOME: outcome.kind,
            names.REQUEST_ID: exchange.id,
            names.STATUS_CODE: outcome.status,
        }
        if watch.stream:
            found[names.REQUEST_STREAM] = True
            if outcome.first_content_seconds is not None:
                found[names.FIRST_CHUNK] = outcome.first_content_seconds
        if served is not None:
            found[names.BACKEND] = served.backend.name
            if outcome.kind in ("completed", "disconnected"):
                found[names.RESPONSE_MODEL] = shown(served.model)
        if outcome.stop_reason:
            reason = outcome.stop_reason if outcome.stop_reason in _REASONS else OTHER
            found[names.FINISH_REASONS] = (reason,)
        if error := error_of(outcome):
            found[names.ERROR_TYPE] = error
        self._count(found, outcome)
        self._identify(found, exchange)
        return found

    def _count(self, found: dict[str, Value], outcome: Outcome) -> None:
        usage = outcome.usage
        cached = usage.cache_read_tokens + usage.cache_creation_tokens
        if usage.input_tokens or usage.output_tokens or cached:
            found[names.INPUT_TOKENS] = usage.input_tokens + cached
            found[names.OUTPUT_TOKENS] = usage.output_tokens
        if cached:
            found[names.CACHE_READ_TOKENS] = usage.cache_read_tokens
            found[names.CACHE_CREATION_TOKENS] = usage.cache_creation_tokens

    def _identify(self, found: dict[str, Value], exchange: Exchange) -> None:
        if self._ids == "off":
            return
        show = hashed if self._ids == "hashed" else shown
        if exchange.session_id:
            found[names.CONVERSATION] = show(exchange.session_id)
        if exchange.agent_id:
            found[names.AGENT] = show(exchange.agent_id)
        if exchange.parent_agent_id:
            found[names.PARENT_AGENT] = show(exchange.parent_agent_id)

    def _attempt(self, one: Sent, number: int, error: str) -> dict[str, Value]:
        backend = one.attempt.backend
        found: dict[str, Value] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: provider_of(one.attempt),
            names.REQUEST_MODEL: shown(one.attempt.model),
            names.BACKEND: backend.name,
            names.ZONE: backend.zone,
            names.ATTEMPT: number,
            names.RESULT: one.result,
        }
        if one.resends:
            found[names.RESEND_COUNT] = one.resends
        if one.result.isdigit():
            found[names.STATUS_CODE] = int(one.result)
        if error:
            found[names.ERROR_TYPE] = error
        if (address := self._addresses.get(backend.name)) is not None:
            found[names.SERVER_ADDRESS], found[names.SERVER_PORT] = address
        return found


def provider_of(attempt: Attempt | None) -> str:
    """`gen_ai.provider.name` of a target."""
    if attempt is None:
        return names.NO_PROVIDER
    return names.PROVIDERS.get(attempt.backend.zone, attempt.backend.zone)


def error_of(outcome: Outcome) -> str:
    """`error.type` of an exchange; empty if it did not fail."""
    if outcome.kind in ("completed", "disconnected"):
        return ""
    return error_type(outcome.status) if outcome.status >= 400 else "stream_interrupted"


@lru_cache(maxsize=1024)
def shown(text: str) -> str:
    """A text that a client or server chose, without secrets and not too long."""
    return redact(text[: 2 * MAX_TEXT])[:MAX_TEXT]


@lru_cache(maxsize=1024)
def hashed(text: str) -> str:
    """The start of the SHA-256 of an id, so that equal ids can be found without storing them."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
