"""Serves the metrics to Prometheus, on the gateway's port or on an own one."""

from __future__ import annotations

import hmac
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from plugway import PlugwayError
from plugway_http.server import BindError, Server, bind
from plugway_telemetry import _names as names
from plugway_telemetry._names import Metric
from plugway_telemetry._store import Store

PATH: Final = "/metrics"
LIBRARY: Final = "prometheus_client"
MISSING: Final = (
    "`/metrics` needs the library `prometheus-client`: run `pip install "
    "'prometheus-client>=0.26,<1'` in the gateway's environment and restart it"
)
FRESH_SECONDS: Final = 1.0
"""A page is rendered at most this often, however many ask for it."""
_LOCAL: Final = frozenset(("127.0.0.1", "localhost", "::1"))


class Page:
    """The metrics as text, in the format that a scraper asks for."""

    def __init__(self, store: Callable[[], Store]) -> None:
        """`store` returns the metrics, with everything that has ended."""
        self._store = store
        self._lock = anyio.Lock()
        self._rendered: dict[str, tuple[float, bytes]] = {}

    async def response(self, request: Request) -> Response:
        """Reply to a scrape."""
        try:
            exposition: Any = import_module("prometheus_client.exposition")
        except ImportError:
            return PlainTextResponse(f"{MISSING}\n", 501)
        render, content_type = exposition.choose_encoder(request.headers.get("accept", "")[:1000])
        async with self._lock:
            at, content = self._rendered.get(content_type, (0.0, b""))
            if not content or time.monotonic() - at >= FRESH_SECONDS:
                if len(self._rendered) > 8:
                    self._rendered.clear()
                content = await anyio.to_thread.run_sync(render, _Collector(self._store()))
                self._rendered[content_type] = time.monotonic(), content
        headers = {"content-type": content_type, "cache-control": "no-store"}
        return Response(content, headers=headers)


class _Collector:
    """The store as families of metrics; it has the interface of a registry."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Any]:
        """One family per metric."""
        core: Any = import_module("prometheus_client.core")
        for metric in names.METRICS:
            yield _family(core, metric, self._store)


def _family(core: Any, metric: Metric, store: Store) -> Any:
    name = names.prometheus_name(metric)
    labels = [names.prometheus_label(attribute) for attribute in metric.attributes]
    if metric.kind == "histogram":
        family = core.HistogramMetricFamily(name, metric.description, labels=labels)
        for values, (counts, total) in store.distributions(metric):
            buckets: list[tuple[str, int]] = []
            below = 0
            for bound, count in zip((*map(_bound, metric.buckets), "+Inf"), counts, strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric(values, buckets=buckets, sum_value=total)
        return family
    kind = core.CounterMetricFamily if metric.kind == "counter" else core.GaugeMetricFamily
    family = kind(name, metric.description, labels=labels)
    for values, number in store.numbers(metric):
        family.add_metric(values, number)
    return family


def _bound(value: float) -> str:
    return str(value)


class Listener:
    """The own port. After a reload the next instance listens on the same socket, so that no scrape
    fails and a configuration that is refused changes nothing."""

    def __init__(self, page: Page, host: str, port: int, token: str | None) -> None:
        self.address = host, port
        self._page = page
        self._token = None if token is None else token.encode()
        self._socket: socket.socket | None = None

    @asynccontextmanager
    async def serving(self, predecessor: Listener | None) -> AsyncGenerator[None]:
        """Serve for the duration of the block. Raises `PlugwayError`: the port is in use."""
        taken = predecessor and predecessor.share(self.address)
        try:
            self._socket = taken or bind(*self.address)
        except BindError as error:
            reason = str(error).partition("\n")[0]
            raise PlugwayError(f"`port`: {reason}; set another `port`") from None
        app = Starlette(routes=[Route(PATH, self._scrape, methods=["GET"])])
        server = Server(app, self._socket, drain_seconds=0.5)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            await server.started.wait()
            try:
                yield
            finally:
                self._socket = None
                server.stop()

    def share(self, address: tuple[str, int]) -> socket.socket | None:
        """A copy of the listening socket, if it has this address."""
        if self._socket is None or address != self.address:
            return None
        return self._socket.dup()

    async def _scrape(self, request: Request) -> Response:
        if self._token is None:
            if not self._named(request.headers.get("host", "")):
                return PlainTextResponse("this host is not served here\n", 421)
        else:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
            if scheme.lower() != "bearer" or not right:
                headers = {"www-authenticate": "Bearer"}
                return PlainTextResponse("`scrape_token` is required\n", 401, headers)
        return await self._page.response(request)

    def _named(self, host: str) -> bool:
        """Whether a request means this server. Without a token, a web page could make its own name
        lead to a local address (DNS rebinding)."""
        if not _is_local(self.address[0]):
            return True
        try:
            return urlsplit(f"//{host}").hostname in _LOCAL
        except ValueError:
            return False


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
