"""The plugin: observes exchanges, and shows those that run and the last ones that ended."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from plugway import (
    Attempt,
    BackendError,
    Exchange,
    Gateway,
    MessagesRequest,
    Options,
    Outcome,
    Plugin,
    Reply,
    Send,
    hookimpl,
)
from plugway_dashboard._page import HEADERS, PAGE
from plugway_dashboard._running import Book
from plugway_dashboard._waits import log_waits
from plugway_dashboard._words import running_data
from plugway_endpoints import ExplainsCache

PATH: Final = "/dashboard/exchanges"
ADVICE: Final = "/dashboard/advice"
_EVERY_SECONDS: Final = 1.0


class DashboardOptions(Options):
    """Options of `dashboard`."""

    remember: int = Field(default=200, ge=1, le=5000)
    """Number of exchanges to keep, in memory only; the oldest are dropped first. Request and
    reply bodies are not kept."""
    log_waits: bool = True
    """Whether the log says what a request waits for after 5 seconds without content, again after 30
    and then every 2 minutes. One that is not streamed is logged from 30 seconds."""


class Dashboard(Plugin[DashboardOptions]):
    """Shows the exchanges that run and the last ones that ended, as JSON and as a page."""

    def __init__(self, options: DashboardOptions, name: str) -> None:
        super().__init__(options, name=name)
        self.book = Book(options.remember)
        """What runs and what ended; after a reload that of the instance before."""
        self._newest = True
        self._gateway: Gateway | None = None

    # ── the exchange ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Show the exchange from now on; nothing is changed."""
        if exchange.endpoint == "messages":
            self.book.begin(exchange, short=not request.stream)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Note what the exchange waits for, and its first content."""
        running = self.book.running.get(exchange.id)
        if running is None:
            return await send(request, attempt)
        running.begin(attempt)
        try:
            reply = await send(request, attempt)
        except BackendError:
            running.fail()
            raise
        return running.answer(reply, counted=self.book.is_watched)

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Keep the exchange and its outcome."""
        self.book.end(exchange, exchange_data(exchange, outcome))

    # ── the lifespan ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Take over what the instance before a reload has, and log who waits."""
        found = gateway.predecessor.find(Dashboard) if gateway.predecessor else []
        before = [other for name, other in found if name == self.name]
        for other in before:
            self.book, other._newest = other.book, False
            self.book.resize(self.options.remember)
        try:
            async with anyio.create_task_group() as tasks:
                if self.options.log_waits:
                    tasks.start_soon(self._log_waits)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            for other in before:  # which goes on if the reload fails
                other._newest = True

    async def _log_waits(self) -> None:
        while True:
            await anyio.sleep(_EVERY_SECONDS)
            if self._newest and self.book.running:
                log_waits(self.book.running.values(), time.monotonic())

    # ── the routes ───────────────────────────────────────────────────────────────────────────

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """The page at `/` for browsers, and the exchanges that it shows."""
        self._gateway = gateway
        return [
            Route("/", self._page, methods=["GET"]),
            Route(PATH, self._exchanges, methods=["GET"]),
            Route(ADVICE, self._advice, methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:
        """The page; clients other than browsers get the health status as JSON."""
        if "text/html" not in request.headers.get("accept", ""):
            return _json({"status": "ok"})
        return HTMLResponse(PAGE, headers=HEADERS)

    async def _exchanges(self, request: Request) -> Response:
        """What runs now, and exchanges that ended with a number above `after`, the oldest first."""
        text = request.query_params.get("after", "0")
        after = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        book, now = self.book, time.monotonic()
        book.look()
        explainers = self._gateway.find(ExplainsCache) if self._gateway else []
        kept = [item for item in book.kept if item["number"] > after]
        for _, explainer in explainers:
            kept = [_explained(item, explainer) for item in kept]
        running = [running_data(one, now) for one in book.running.values()]
        return _json({"last": book.number, "exchanges": kept, "running": running})

    async def _advice(self, request: Request) -> Response:
        """Which local model fits this machine; the page requests it when its user asks."""
        return _json(await anyio.to_thread.run_sync(_advice))


def _advice() -> dict[str, Any]:
    """What `plugway models recommend --json` prints here; measures the machine."""
    # Imported when it is first needed: it brings an HTTP client that a gateway starts without.
    from plugway_local_models import fitting

    return fitting.advise(fitting.read_machine(), installed=fitting.installed_models()).as_json()


def _explained(item: Mapping[str, Any], explainer: ExplainsCache) -> Mapping[str, Any]:
    """The exchange with what was read from its prompt cache, if that is known."""
    found = explainer.cache_of(item["request_id"])
    return item if found is None else {**item, "cache": found}


def exchange_data(exchange: Exchange, outcome: Outcome) -> dict[str, Any]:
    """One exchange as JSON-ready data: receipt, outcome and times in seconds, without content."""
    usage = outcome.usage
    served = exchange.served_by
    return {
        **exchange.summary(),
        "parent_agent_id": exchange.parent_agent_id,
        "endpoint": exchange.endpoint,
        "client": exchange.client[:100],
        "ended": round(time.time(), 3),
        "outcome": outcome.kind,
        "status": outcome.status,
        "error": outcome.error[:500],
        "served_by": served.target if served else None,
        "zone": served.backend.zone if served else None,
        "seconds": round(outcome.seconds, 4),
        "first_content_seconds": outcome.first_content_seconds
        and round(outcome.first_content_seconds, 4),
        "stop_reason": outcome.stop_reason,
        "usage": {
            "input": usage.input_tokens,
            "cache_read": usage.cache_read_tokens,
            "cache_creation": usage.cache_creation_tokens,
            "output": usage.output_tokens,
        },
    }


def _json(body: object) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")
