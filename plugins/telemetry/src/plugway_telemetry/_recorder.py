"""Records ended exchanges: their metrics, and their spans for the exporter.

It works on several exchanges at once, because code that runs repeatedly takes a third of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from plugway_telemetry import _names as names
from plugway_telemetry._context import context_of, new_context
from plugway_telemetry._ended import Ended, Sent, error_of, sent_by
from plugway_telemetry._options import TelemetryOptions
from plugway_telemetry._spans import Addresses, SpanWriter, provider_of
from plugway_telemetry._store import OTHER, Histogram, ModelNames, Number, Store

BATCH: Final = 32
"""Exchanges that are recorded at once. More would delay other work of the event loop."""
_KINDS: Final = ("input", "output", "cache_read", "cache_creation")
"""Kinds of tokens, in the order of `Usage`."""


class _Series(NamedTuple):
    """The metrics of exchanges with the same attributes."""

    duration: Histogram
    first: Histogram
    input: Histogram
    output: Histogram
    tokens: Sequence[Number]
    """By kind, as in `_KINDS`."""


class Recorder:
    """Records the exchanges of one instance of the plugin."""

    def __init__(
        self,
        options: TelemetryOptions,
        store: Store,
        addresses: Addresses,
        export: Callable[[list[bytes]], object] | None,
    ) -> None:
        """`export` takes encoded spans; None for no traces."""
        self.store = store
        self.models = ModelNames(options.models, options.max_models)
        self._measures = options.measures
        self._share = options.sample
        self._export = export
        self._writer = SpanWriter(self.models, options.ids, addresses)
        self._series = lru_cache(maxsize=1024)(self._series_of)
        self._ended: list[Ended] = []

    def add(self, ended: Ended) -> None:
        """Record an exchange, at once or with later ones."""
        self._ended.append(ended)
        if len(self._ended) >= BATCH:
            self.drain()

    def drain(self) -> None:
        """Record what was added."""
        ended, self._ended = self._ended, []
        zero = time.time_ns() - int(time.monotonic() * 1e9)
        spans: list[bytes] = []
        for one in ended:
            self._record(one, zero, spans)
        if spans and self._export is not None:
            self._export(spans)

    def _record(self, one: Ended, zero: int, spans: list[bytes]) -> None:
        outcome, served = one.outcome, one.served_by
        if self._measures:
            self.store.number(names.EXCHANGES, one.endpoint, outcome.kind, one.caller).add()
        if one.endpoint != "messages":
            return
        if served is not None and outcome.kind == "completed":
            self.models.admit(served.model, by_client=served.model in one.asked)
        sent = sent_by(one)
        if self._measures:
            self._measure(one, sent)
        if self._export is None:
            return
        parent = one.watch and one.watch.parent
        if one.watch is None or parent is None:
            context = new_context(self._share)
        else:
            context = context_of(parent, one.watch.state, self._share)
        if context.sampled:
            spans += self._writer.spans(one, sent, context, zero)

    def _measure(self, one: Ended, sent: Sequence[Sent]) -> None:
        outcome, served = one.outcome, one.served_by
        for attempt in sent:
            backend, zone, _ = attempt.target
            self.store.number(names.ATTEMPTS, backend, zone, attempt.result).add()
        series = self._series(
            provider_of(served),
            OTHER if served is None else self.models.label(served.model),
            "" if served is None else served.backend,
            error_of(outcome),
            one.caller,
        )
        series.duration.record(outcome.seconds)
        if outcome.first_content_seconds is not None:
            series.first.record(outcome.first_content_seconds)
        plain, output, read, made = outcome.usage
        if plain or output or read or made:
            series.input.record(plain + read + made)
            series.output.record(output)
            for kind, number in zip(series.tokens, (plain, output, read, made), strict=True):
                kind.add(number)

    def _series_of(
        self, provider: str, model: str, backend: str, error: str, caller: str
    ) -> _Series:
        store, labels = self.store, (names.CHAT, provider, model, backend)
        return _Series(
            store.histogram(names.DURATION, *labels, error),
            store.histogram(names.FIRST_TOKEN, *labels),
            store.histogram(names.TOKEN_USAGE, *labels, "input"),
            store.histogram(names.TOKEN_USAGE, *labels, "output"),
            [store.number(names.TOKENS, caller, backend, model, kind) for kind in _KINDS],
        )
