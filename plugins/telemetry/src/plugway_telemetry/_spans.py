"""Turns a finished exchange into spans: one for the exchange, and one for each attempt.

Spans contain names, counts, times and ids. They never contain a prompt, a reply, a header, an
error text or a URL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from plugway_log import redact
from plugway_telemetry import _names as names
from plugway_telemetry import _wire as wire
from plugway_telemetry._context import Context, new_span_id
from plugway_telemetry._ended import Ended, Sent, Target, error_of
from plugway_telemetry._store import OTHER, ModelNames
from plugway_telemetry._wire import Value

MAX_TEXT: Final = 128
"""Longest text that a client or server chose, such as the name of a model."""
_ERRORS: Final = {"answered": "", "cancelled": ""}
"""`error.type` of results that are no errors; it is the result for all others."""

Addresses = Mapping[str, tuple[str, int]]
"""Host and port of the server of each backend that has one."""


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

    def spans(self, one: Ended, sent: Sequence[Sent], context: Context, zero: int) -> list[bytes]:
        """The spans of an exchange, encoded. `zero` is the time in nanoseconds since 1970 when
        `time.monotonic` was 0."""
        outcome = one.outcome
        span_id = new_span_id()
        ended = one.began + outcome.seconds
        first = outcome.first_content_seconds
        began_content = b""
        if first is not None:
            moment = zero + int((one.began + first) * 1e9)
            began_content = wire.event(names.FIRST_CONTENT_EVENT, moment)
        details = [self._exchange(one), began_content]
        spans: list[bytes] = []
        for number, attempt in enumerate(sent, start=1):
            began = zero + int(attempt.began * 1e9)
            if attempt.result == "skipped":
                backend = {names.BACKEND: attempt.target.backend}
                details.append(wire.event(names.SKIPPED_EVENT, began, backend))
                continue
            answers = attempt.result == "answered" and number == len(sent)
            failed = answers and outcome.kind == "failed"
            error = error_of(outcome) if failed else _ERRORS.get(attempt.result, attempt.result)
            about = self._attempt(attempt.target, attempt.result, number, attempt.resends, error)
            spans.append(
                wire.span(
                    trace_id=context.trace_id,
                    span_id=new_span_id(),
                    parent_id=span_id,
                    state=context.state,
                    name=self._name(attempt.target.model),
                    kind=wire.CLIENT,
                    began=began,
                    ended=zero + int((ended if answers else attempt.ended) * 1e9),
                    details=about + began_content if answers else about,
                    is_error=error != "",
                )
            )
        spans.append(
            wire.span(
                trace_id=context.trace_id,
                span_id=span_id,
                parent_id=context.parent_id,
                state=context.state,
                name=self._name(one.served_by.model if one.served_by else one.asked),
                kind=wire.SERVER,
                began=zero + int(one.began * 1e9),
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

    def _exchange(self, one: Ended) -> bytes:
        outcome, served = one.outcome, one.served_by
        stream = one.watch is not None and one.watch.stream
        answered = served is not None and outcome.kind in ("completed", "disconnected")
        kind = _Kind(
            one.asked,
            one.caller,
            outcome.kind,
            outcome.status,
            stream,
            provider_of(served),
            served.backend if served else "",
            served.model if served and answered else "",
            outcome.stop_reason or "",
            error_of(outcome),
        )
        pieces = [_encoded_kind(kind), wire.text(names.REQUEST_ID, one.id)]
        if stream and outcome.first_content_seconds is not None:
            pieces.append(wire.double(names.FIRST_CHUNK, outcome.first_content_seconds))
        plain, output, read, made = outcome.usage
        if plain or output or read or made:
            pieces.append(wire.number(names.INPUT_TOKENS, plain + read + made))
            pieces.append(wire.number(names.OUTPUT_TOKENS, output))
        if read or made:
            pieces.append(wire.number(names.CACHE_READ_TOKENS, read))
            pieces.append(wire.number(names.CACHE_CREATION_TOKENS, made))
        if self._ids != "off":
            pieces.append(_encoded_ids(self._ids, one.session, one.agent, one.parent_agent))
        return b"".join(pieces)

    def _encoded_attempt(
        self, target: Target, result: str, number: int, resends: int, error: str
    ) -> bytes:
        """The attributes of an attempt."""
        backend, zone, model = target
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
        found[names.FINISH_REASONS] = (kind.stop_reason,)
    if kind.error:
        found[names.ERROR_TYPE] = kind.error
    return wire.attributes(found)


@lru_cache(maxsize=512)
def _encoded_ids(ids: str, session: str | None, agent: str | None, parent: str | None) -> bytes:
    """The ids of the conversation and the subagent, hashed or plain."""
    show = hashed if ids == "hashed" else shown
    claimed = {names.CONVERSATION: session, names.AGENT: agent, names.PARENT_AGENT: parent}
    return wire.attributes({name: show(value) for name, value in claimed.items() if value})


def provider_of(target: Target | None) -> str:
    """`gen_ai.provider.name` of a target."""
    if target is None:
        return names.NO_PROVIDER
    return names.PROVIDERS.get(target.zone, target.zone)


def shown(text: str) -> str:
    """A text that a client or server chose, without secrets and not too long."""
    return redact(text[: 2 * MAX_TEXT])[:MAX_TEXT]


def hashed(text: str) -> str:
    """The start of the SHA-256 of an id, so that equal ids can be found without storing them."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
