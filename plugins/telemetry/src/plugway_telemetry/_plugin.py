"""The plugin: observes exchanges, records metrics and hands spans to the exporter.

It changes no request and no reply.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlsplit

import anyio
from starlette.routing import BaseRoute, Route

from plugway import (
    Attempt,
    Backend,
    Exchange,
    Gateway,
    Headers,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    Send,
    StateKey,
    Upstream,
    hookimpl,
)
from plugway_telemetry import _names as names
from plugway_telemetry._context import context_of, new_context
from plugway_telemetry._export import Exporter
from plugway_telemetry._options import TelemetryOptions
from plugway_telemetry._prometheus import LIBRARY, MISSING, PATH, Listener, Page
from plugway_telemetry._spans import Layer, Sent, SpanWriter, Watch, error_of, provider_of, sent_by
from plugway_telemetry._store import OTHER, Histogram, ModelNames, Number, Store

FLUSH_SECONDS: Final = 1.0
"""Time to send what is left when the gateway stops or after a reload. The server gives the whole
application 1.5 s to stop (`CUT_SECONDS` in `plugway_http`)."""
_WATCH: StateKey[Watch] = StateKey("telemetry")
_PORTS: Final = {"http": 80, "https": 443}


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


@runtime_checkable
class _Addresses(Protocol):
    """A backend with a server; `explain` shows the URL."""

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """The URL and the headers of a request."""
        ...


class Telemetry(Plugin[TelemetryOptions]):
    """Exports traces and metrics. Without options it does nothing."""

    def __init__(self, options: TelemetryOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._on = options.measures or options.exports_traces
        self.store = Store()
        """The metrics; after a reload those of the instance before."""
        self.models = ModelNames(options.models, options.max_models)
        self._addresses: dict[str, tuple[str, int]] = {}
        self._writer = SpanWriter(self.models, options.ids, self._addresses)
        self._exporter: Exporter | None = None
        self._series = lru_cache(maxsize=1024)(self._series_of)
        self._page = Page(lambda: self.store)
        self.listener: Listener | None = None
        """The own port, while it is open."""
        if options.port is not None:
            secret = options.scrape_token
            token = None if secret is None else secret.get_secret_value()
            self.listener = Listener(self._page, options.host, options.port, token)

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Warn if `/metrics` lacks its library, which this package does not install."""
        if self.options.is_scraped and find_spec(LIBRARY) is None:
            self.log.warning(MISSING)
        return ()

    # ── the exchange ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Read the client's trace context; nothing is changed."""
        if not self._on or exchange.endpoint != "messages":
            return
        context = None
        if self._exporter is not None and self.options.traces:
            context = context_of(request, self.options.sample)
        exchange.state[_WATCH] = Watch(context, request.stream)
        self.store.number(names.IN_FLIGHT).add()

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Note when the attempt began and ended."""
        watch = exchange.state.get(_WATCH)
        if watch is None:
            return await send(request, attempt)
        layer = Layer(attempt, len(exchange.attempts), time.monotonic())
        watch.layers.append(layer)
        try:
            return await send(request, attempt)
        finally:
            layer.last = len(exchange.attempts)
            layer.ended = time.monotonic()

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Record the metrics of the exchange, and queue its spans."""
        if not self._on:
            return
        if self.options.measures:
            labels = exchange.endpoint, outcome.kind, exchange.caller.name
            self.store.number(names.EXCHANGES, *labels).add()
        if exchange.endpoint != "messages":
            return
        watch = exchange.state.get(_WATCH)
        if watch is None:  # rejected before the plugins were asked
            watch = Watch(new_context(self.options.sample))
        else:
            self.store.number(names.IN_FLIGHT).add(-1)
        sent = sent_by(exchange, watch.layers)
        served = exchange.served_by
        if served is not None and outcome.kind == "completed":
            self.models.admit(served.model, by_client=served.model in exchange.model_asked)
        if self.options.measures:
            self._measure(exchange, outcome, sent)
        context = watch.context
        if self._exporter is None or context is None or not context.sampled:
            return
        if self.options.traces:
            self._exporter.add(self._writer.spans(exchange, outcome, watch, sent))

    def _measure(self, exchange: Exchange, outcome: Outcome, sent: Sequence[Sent]) -> None:
        served = exchange.served_by
        for one in sent:
            backend = one.attempt.backend
            self.store.number(names.ATTEMPTS, backend.name, backend.zone, one.result).add()
        series = self._series(
            provider_of(served),
            OTHER if served is None else self.models.label(served.model),
            "" if served is None else served.backend.name,
            error_of(outcome),
            exchange.caller.name,
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

    # ── the lifespan ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    def register_routes(self) -> Sequence[BaseRoute]:
        """`/metrics`, if it is wanted on the gateway's port."""
        if not self.options.scrape:
            return []
        return [Route(PATH, self._page.response, methods=["GET"])]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Export until the gateway stops; then send what is left, for one second."""
        if not self._on:
            yield
            return
        before = self._predecessor(gateway)
        if before is not None:
            self.store = before.store
            self._series.cache_clear()
        self._addresses.update(_addresses_of(gateway.backends))
        self.store.owners.append(self)
        try:
            async with AsyncExitStack() as stack:
                if self.listener is not None:
                    previous = before and before.listener
                    await stack.enter_async_context(self.listener.serving(previous))
                await stack.enter_async_context(self._exporting())
                yield
        finally:
            self.store.owners.remove(self)

    def _predecessor(self, gateway: Gateway) -> Telemetry | None:
        if gateway.predecessor is None:
            return None
        found = gateway.predecessor.find(Telemetry)
        return next((plugin for name, plugin in found if name == self.name), None)

    @asynccontextmanager
    async def _exporting(self) -> AsyncGenerator[None]:
        options = self.options
        async with AsyncExitStack() as stack:
            if options.endpoint is not None:
                upstream = self._upstream(options.endpoint)
                await stack.enter_async_context(upstream)
                self._exporter = Exporter(
                    upstream,
                    self._resource(),
                    self.store,
                    self.log,
                    headers=options.headers,
                    span_seconds=options.span_seconds,
                    metric_seconds=options.metric_seconds,
                )
            async with anyio.create_task_group() as tasks:
                if options.measures:
                    tasks.start_soon(self._measure_loop)
                if self._exporter is not None and options.traces:
                    tasks.start_soon(self._exporter.run_spans)
                if self._exporter is not None and options.metrics:
                    tasks.start_soon(self._exporter.run_metrics, self)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
            if self._exporter is not None:
                newest = self.store.owners[-1] is self
                await self._exporter.flush(
                    FLUSH_SECONDS, traces=options.traces, metrics=options.metrics and newest
                )

    def _upstream(self, endpoint: str) -> Upstream:
        options = self.options
        credentials: dict[str, str] = {}
        if options.credential is not None:
            credentials[options.credential_header] = options.credential.get_secret_value()
        return Upstream(endpoint, credentials=credentials, network=options)

    def _resource(self) -> dict[str, str]:
        return {
            names.SERVICE_NAME: self.options.service_name,
            names.SERVICE_VERSION: version("plugway"),
            names.SERVICE_INSTANCE: self.store.instance,
            **self.options.resource,
        }

    async def _measure_loop(self) -> None:
        """Record how late the event loop is, once a second."""
        while True:
            due = time.monotonic() + 1
            await anyio.sleep(1)
            if self.store.owners[-1] is self:
                late = max(0.0, time.monotonic() - due)
                self.store.histogram(names.LOOP_LAG).record(late)


def _addresses_of(backends: Mapping[str, Backend]) -> dict[str, tuple[str, int]]:
    """Host and port of each backend's server, from its URL; nothing else of the URL is kept."""
    found: dict[str, tuple[str, int]] = {}
    for name, backend in backends.items():
        if isinstance(backend, _Addresses):
            try:
                url, _ = backend.addressed(MessagesRequest(b'{"model":"-"}'), Attempt(backend, "-"))
                parts = urlsplit(url)
                host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
            except Exception:  # another plugin's code; its spans then have no address
                continue
            if host:
                found[name] = host, port
    return found
