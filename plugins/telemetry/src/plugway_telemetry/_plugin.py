"""The plugin: observes exchanges, records metrics and hands spans to the exporter.

It changes no request and no reply.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final, Protocol, runtime_checkable
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
    PlugwayError,
    Reply,
    Send,
    StateKey,
    Upstream,
    hookimpl,
)
from plugway_telemetry import _names as names
from plugway_telemetry._context import trace_headers
from plugway_telemetry._ended import Layer, Watch, ended_of
from plugway_telemetry._export import Exporter
from plugway_telemetry._options import TelemetryOptions
from plugway_telemetry._prometheus import LIBRARY, MISSING, PATH, Listener, Page
from plugway_telemetry._recorder import Recorder
from plugway_telemetry._spans import Addresses
from plugway_telemetry._store import Store

FLUSH_SECONDS: Final = 1.0
"""Time to send what is left when the gateway stops or after a reload. The server gives the whole
application 1.5 s to stop (`CUT_SECONDS` in `plugway_http`)."""
_PORTS: Final = {"http": 80, "https": 443}


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
        self._watch: StateKey[Watch] = StateKey(self.name)
        self.store = Store()
        """The metrics; after a reload those of the instance before."""
        self.recorder = Recorder(options, self.store, {}, None)
        """What records ended exchanges; another one while the plugin runs."""
        self._exporter: Exporter | None = None
        self._page = Page(self._drained)
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
        parent, state = trace_headers(request) if self.options.exports_traces else (None, "")
        exchange.state[self._watch] = Watch(parent, state, request.stream)
        self.store.in_flight.add()

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Note when the attempt began and ended."""
        watch = exchange.state.get(self._watch)
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
        """Keep what will be recorded of the exchange."""
        if not self._on:
            return
        watch = exchange.state.get(self._watch)
        if watch is not None:
            self.store.in_flight.add(-1)
        self.recorder.add(ended_of(exchange, outcome, watch))

    def _drained(self) -> Store:
        """The metrics, with everything that has ended."""
        self.recorder.drain()
        return self.store

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
        self._check_page(gateway)
        before = self._predecessor(gateway)
        if before is not None:
            self.store = before.store
        self.store.owners.append(self)
        try:
            async with AsyncExitStack() as stack:
                if self.listener is not None:
                    previous = before and before.listener
                    await stack.enter_async_context(self.listener.serving(previous))
                await stack.enter_async_context(self._exporting(_addresses_of(gateway.backends)))
                yield
        finally:
            self.recorder.drain()
            self.store.owners.remove(self)

    def _check_page(self, gateway: Gateway) -> None:
        """Raises `PlugwayError`: another entry serves `/metrics` on the gateway's port."""
        serving = [name for name, one in gateway.find(Telemetry) if one.options.scrape]
        if self.options.scrape and serving[0] != self.name:
            raise PlugwayError(
                f"`scrape`: `{serving[0]}` serves `{PATH}` already; remove `scrape` from one of "
                "them, or set `port`"
            )

    def _predecessor(self, gateway: Gateway) -> Telemetry | None:
        if gateway.predecessor is None:
            return None
        found = gateway.predecessor.find(Telemetry)
        return next((plugin for name, plugin in found if name == self.name), None)

    @asynccontextmanager
    async def _exporting(self, addresses: Addresses) -> AsyncGenerator[None]:
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
                    drain=lambda: self.recorder.drain(),
                )
            export = self._exporter.add if self._exporter is not None and options.traces else None
            self.recorder = Recorder(options, self.store, addresses, export)
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
