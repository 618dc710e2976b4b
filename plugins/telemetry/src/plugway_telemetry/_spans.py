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
from plugway_telemetry._wire import Value

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
        if len(records) == 1:
            result = result_of(records[0].result)
            began = layer.ended - records[0].seconds
            found.append(Sent(layer.attempt, result, began, layer.ended, 0))
            continue
        spent = sum(record.seconds for record in records)
        gaps = max(1, len(records) - 1)
        pause = max(0.0, layer.ended - layer.began - spent) / gaps
        at = layer.began
        for number, record in enumerate(records):
            result = result_of(record.result)
            found.append(Sent(layer.attempt, result, at, at + record.seconds, number))
            at += record.seconds + pause
        if not records:
            found.append(Sent(layer.attempt, "skipped", layer.began, layer.ended, 0))
    return found


class _Kind(NamedTuple):
    """What exchanges of the same kind have in common: their attributes are encoded once."""

    asked: str
    caller: str
    outcome: str
    status: int
    stream: bool
    provider: str
    backend: str
    model: str
    """The model that served it; empty if none did."""
    stop_reason: str
    error: str


class SpanWriter:
    """Writes the spans of exchanges."""

    def __init__(self, models: ModelNames, ids: str, addresses: Addresses) -> None:
        self._models = models
        self._ids = ids
        self._addresses = addresses
        self._attempt = lru_cache(maxsize=512)(self._encoded_attempt)

    def spans(
        self, exchange: Exchange, outcome: Outcome, watch: Watch, sent: Sequence[Sent]
    ) -> list[bytes]:
        """The exchange's spans, encoded; the context must be sampled."""
        context = watch.context
        assert context is not None
        zero = time.time_ns() - int(time.monotonic() * 1e9)
        span_id = new_span_id()
        ended = exchange.started + outcome.seconds
        first = outcome.first_content_seconds
        began_content = b""
        if first is not None:
            moment = zero + int((exchange.started + first) * 1e9)
            began_content = wire.event(names.FIRST_CONTENT_EVENT, moment)
        details = [self._exchange(exchange, outcome, watch), began_content]
        spans: list[bytes] = []
        for number, one in enumerate(sent, start=1):
            began = zero + int(one.began * 1e9)
            if one.result == "skipped":
                backend = {names.BACKEND: one.attempt.backend.name}
                details.append(wire.event(names.SKIPPED_EVENT, began, backend))
                continue
            answers = one.result == "answered" and number == len(sent)
            failed = answers and outcome.kind == "failed"
            error = error_of(outcome) if failed else _ERRORS.get(one.result, one.result)
            backend = one.attempt.backend
            model = one.attempt.model
            about = self._attempt(
                backend.name, backend.zone, model, one.result, number, one.resends, error
            )
            spans.append(
                wire.span(
                    trace_id=context.trace_id,
                    span_id=new_span_id(),
                    parent_id=span_id,
                    state=context.state,
                    name=self._name(model),
                    kind=wire.CLIENT,
                    began=began,
                    ended=zero + int((ended if answers else one.ended) * 1e9),
                    details=about + began_content if answers else about,
                    is_error=error != "",
                )
            )
        served = exchange.served_by
        spans.append(
            wire.span(
                trace_id=context.trace_id,
                span_id=span_id,
                parent_id=context.parent_id,
                state=context.state,
                name=self._name(exchange.model_asked if served is None else served.model),
                kind=wire.SERVER,
                began=zero + int(exchange.started * 1e9),
                ended=zero + int(ended * 1e9),
                details=b"".join(details),
                is_error=outcome.kind == "failed",
            )
        )
        return spans

    def _name(self, model: str) -> str:
        """The name of a span, which must have few values."""
        label = self._models.label(model)
        return names.CHAT if label == OTHER else f"{names.CHAT} {label}"

    def _exchange(self, exchange: Exchange, outcome: Outcome, watch: Watch) -> bytes:
        served = exchange.served_by
        answered = served is not None and outcome.kind in ("completed", "disconnected")
        pieces = [
            _encoded_kind(
                _Kind(
                    exchange.model_asked,
                    exchange.caller.name,
                    outcome.kind,
                    outcome.status,
                    watch.stream,
                    provider_of(served),
                    served.backend.name if served else "",
                    served.model if served and answered else "",
                    outcome.stop_reason or "",
                    error_of(outcome),
                )
            ),
            wire.text(names.REQUEST_ID, exchange.id),
        ]
        if watch.stream and outcome.first_content_seconds is not None:
            pieces.append(wire.double(names.FIRST_CHUNK, outcome.first_content_seconds))
        plain, output, read, made = outcome.usage
        if plain or output or read or made:
            pieces.append(wire.number(names.INPUT_TOKENS, plain + read + made))
            pieces.append(wire.number(names.OUTPUT_TOKENS, output))
        if read or made:
            pieces.append(wire.number(names.CACHE_READ_TOKENS, read))
            pieces.append(wire.number(names.CACHE_CREATION_TOKENS, made))
        if self._ids != "off":
            who = exchange.session_id, exchange.agent_id, exchange.parent_agent_id
            pieces.append(_encoded_ids(self._ids, *who))
        return b"".join(pieces)

    def _encoded_attempt(
        self,
        backend: str,
        zone: str,
        model: str,
        result: str,
        number: int,
        resends: int,
        error: str,
    ) -> bytes:
        """The attributes of an attempt."""
        found: dict[str, Value] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: names.PROVIDERS.get(zone, zone),
            names.REQUEST_MODEL: shown(model),
            names.BACKEND: backend,
            names.ZONE: zone,
            names.ATTEMPT: number,
            names.RESULT: result,
        }
        if resends:
            found[names.RESEND_COUNT] = resends
        if result.isdigit():
            found[names.STATUS_CODE] = int(result)
        if error:
            found[names.ERROR_TYPE] = error
        if (address := self._addresses.get(backend)) is not None:
            found[names.SERVER_ADDRESS], found[names.SERVER_PORT] = address
        return wire.attributes(found)


@lru_cache(maxsize=512)
def _encoded_kind(kind: _Kind) -> bytes:
    """The attributes that exchanges of the same kind have in common."""
    found: dict[str, Value] = {
        names.OPERATION: names.CHAT,
        names.PROVIDER: kind.provider,
        names.REQUEST_MODEL: shown(kind.asked),
        names.CALLER: kind.caller,
        names.OUTCOME: kind.outcome,
        names.STATUS_CODE: kind.status,
    }
    if kind.stream:
        found[names.REQUEST_STREAM] = True
    if kind.backend:
        found[names.BACKEND] = kind.backend
    if kind.model:
        found[names.RESPONSE_MODEL] = shown(kind.model)
    if kind.stop_reason:
        reason = kind.stop_reason if kind.stop_reason in _REASONS else OTHER
        found[names.FINISH_REASONS] = (reason,)
    if kind.error:
        found[names.ERROR_TYPE] = kind.error
    return wire.attributes(found)


@lru_cache(maxsize=512)
def _encoded_ids(ids: str, session: str | None, agent: str | None, parent: str | None) -> bytes:
    """The ids of the conversation and the subagent, hashed or plain."""
    show = hashed if ids == "hashed" else shown
    claimed = {names.CONVERSATION: session, names.AGENT: agent, names.PARENT_AGENT: parent}
    return wire.attributes({name: show(value) for name, value in claimed.items() if value})


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


def shown(text: str) -> str:
    """A text that a client or server chose, without secrets and not too long."""
    return redact(text[: 2 * MAX_TEXT])[:MAX_TEXT]


def hashed(text: str) -> str:
    """The start of the SHA-256 of an id, so that equal ids can be found without storing them."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
