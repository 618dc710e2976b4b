"""The plugin: observes exchanges, and shows those that run and the last ones that ended."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
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
    Caller,
    Exchange,
    Gateway,
    InvalidRequest,
    MessagesRequest,
    NoRoute,
    Options,
    Outcome,
    Plugin,
    Reply,
    Send,
    hookimpl,
)
from plugway_dashboard._costs import cost_of
from plugway_dashboard._history import History
from plugway_dashboard._open import open_history
from plugway_dashboard._page import HEADERS, PAGE
from plugway_dashboard._plan import planned, shape_of
from plugway_dashboard._running import Book
from plugway_dashboard._search import query_of
from plugway_dashboard._state import state_of
from plugway_dashboard._waits import log_waits
from plugway_dashboard._words import exchange_data, running_data
from plugway_dashboard._writer import Writer
from plugway_endpoints import ExplainsCache, OffersTrials, Trial
from plugway_prices import Catalogue, TellsPrices, choices_of, prices_in
from plugway_wire.bounds import aside

PATH: Final = "/dashboard/exchanges"
ADVICE: Final = "/dashboard/advice"
HISTORY: Final = "/dashboard/history"
PLAN: Final = "/dashboard/plan"
STATE: Final = "/dashboard/state"
TRIALS: Final = "/dashboard/trials"
UNUSABLE: Final = "The history cannot be read now; the gateway's log says why."
MOST_KEPT: Final = 5000
MOST_FOUND: Final = 500
_MODEL_CHARACTERS: Final = 256
"""As in requests, which are refused otherwise."""
_EVERY_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 1.0
"""Time to write the history when the gateway stops, which takes 1.5 s at most."""


class DashboardOptions(Options):
    """Options of `dashboard`."""

    remember: int = Field(default=200, ge=1, le=MOST_KEPT)
    """Number of exchanges to keep in memory; the oldest are dropped first. Request and reply bodies
    are not kept."""
    history: bool = False
    """Whether what the page shows of ended exchanges is also kept over restarts, so that it can be
    searched: in the database of `store` if that is listed, else in a file of this user."""
    history_days: int = Field(default=30, ge=1, le=366)
    """Days after which an exchange is removed from the history."""
    history_rows: int = Field(default=20_000, ge=100, le=200_000)
    """Most exchanges in the history; the oldest are removed first."""
    log_waits: bool = True
    """Whether the log says what a request waits for after 5 seconds without content, again after 30
    and then every 2 minutes. One that is not streamed is logged from 30 seconds."""


class Dashboard(Plugin[DashboardOptions]):
    """Shows the exchanges that run and the last ones that ended, as JSON and as a page."""

    def __init__(self, options: DashboardOptions, name: str) -> None:
        super().__init__(options, name=name)
        self.book = Book(options.remember)
        """What runs and what ended; after a reload that of the instance before."""
        self.history: History | None = None
        """What ended in the last days, also before a restart; None unless it is wanted."""
        self._writer: Writer | None = None
        self._prices: TellsPrices = Catalogue()
        self._explainers: Sequence[tuple[str, ExplainsCache]] = ()
        self._newest = True
        self._gateway: Gateway | None = None

    # ── the exchange ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Show the exchange from now on; nothing is changed."""
        if exchange.endpoint == "messages":
            self.book.begin(exchange, short=not request.stream, request=request)

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
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Keep the exchange, its outcome and its cost."""
        running = self.book.running.get(exchange.id)
        shape, choices = await _looked_at(running.request if running else None)
        dollars = cost_of(self._prices, exchange, outcome, choices)
        data = {**exchange_data(exchange, outcome), "shape": shape, "dollars": dollars}
        if self.history is not None and self.history.gateway:
            data["gateway"] = self.history.gateway
        self.book.end(exchange, data)

    # ── the lifespan ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Take over what the instance before a reload has, or what the history has from before a
        restart; log who waits, and write the history."""
        self._prices = prices_in(gateway)
        self._explainers = gateway.find(ExplainsCache)
        found = gateway.predecessor.find(Dashboard) if gateway.predecessor else []
        before = [other for name, other in found if name == self.name]
        for other in before:
            self.book, other._newest = other.book, False
            self.book.resize(self.options.remember)
        try:
            async with AsyncExitStack() as opened:
                if self.options.history:
                    days, rows = self.options.history_days, self.options.history_rows
                    opening = open_history(gateway, self.name, days=days, rows=rows)
                    self.history = await opened.enter_async_context(opening)
                    self._writer = Writer(self.history, self._explained)
                    if not before:
                        self.book.restore(await self.history.newest(self.options.remember))
                self.book.keep_unsaved(self.options.history)
                async with self._live():
                    yield
        finally:
            for other in before:  # which goes on if the reload fails
                other._newest = True
                other.book.keep_unsaved(other.options.history)

    @asynccontextmanager
    async def _live(self) -> AsyncGenerator[None]:
        """Log who waits, and write the history, the rest at the end."""
        try:
            async with anyio.create_task_group() as tasks:
                if self.options.log_waits or self.history:
                    tasks.start_soon(self._every_second)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            if self._newest:
                with anyio.move_on_after(_LAST_SECONDS, shield=True):
                    await self._save()
                if left := len(self.book.unsaved or ()):
                    what = "requests that could not be written to the history before the stop: %d"
                    self.log.warning(what, left)
            if self._writer is not None:
                await self._writer.close()

    async def _every_second(self) -> None:
        while True:
            await anyio.sleep(_EVERY_SECONDS)
            if not self._newest:
                continue
            if self.options.log_waits and self.book.running:
                log_waits(self.book.running.values(), time.monotonic())
            await self._save()

    async def _save(self) -> None:
        """Write what has ended since the last time; returns when it is in the history."""
        if self._writer is not None:
            await self._writer.save(self.book)

    # ── the routes ───────────────────────────────────────────────────────────────────────────

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """The page at `/` for browsers, and the exchanges that it shows. Limited callers see only
        their own."""
        self._gateway = gateway
        own = [
            Route(PATH, self._exchanges, methods=["GET"]),
            Route(HISTORY, self._found, methods=["GET"]),
            Route(PLAN, self._plan, methods=["GET"]),
            Route(TRIALS, self._trials, methods=["GET"]),
        ]
        for route in own:
            route.limited_callers = True  # pyright: ignore[reportAttributeAccessIssue]
        return [
            *own,
            Route("/", self._page, methods=["GET"]),
            Route(STATE, self._state, methods=["GET"]),
            Route(ADVICE, self._advice, methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:
        """The page; clients other than browsers get the health status as JSON."""
        if "text/html" not in request.headers.get("accept", ""):
            return _json({"status": "ok"})
        return HTMLResponse(PAGE, headers=HEADERS)

    async def _exchanges(self, request: Request) -> Response:
        """What runs now, and exchanges that ended with a number above `after`, the oldest first;
        at most `limit`, and then there are more after `last`."""
        after, limit = _number(request, "after") or 0, _number(request, "limit") or MOST_KEPT
        book, now, only = self.book, time.monotonic(), _only(request)
        book.look()
        kept = [
            item for item in book.kept if item["number"] > after and only in (None, item["caller"])
        ]
        running = (one for one in book.running.values() if only in (None, one.exchange.caller.name))
        return _json(
            {
                "book": book.id,
                "last": kept[:limit][-1]["number"] if kept else after,
                "more": len(kept) > limit,
                "exchanges": [_shown(self._explained(item), only) for item in kept[:limit]],
                "running": [running_data(one, now) for one in running],
                "limited": only is not None,
                "history_days": self.options.history_days if self.history else None,
            }
        )

    async def _found(self, request: Request) -> Response:
        """What of the history fits the words `q`, below the row `before`, the newest first; with
        `totals`, the sums of all that fits."""
        if self.history is None:
            reason = f"set `history: true` in the options of `{self.name}`"
            raise NoRoute(f"this gateway keeps no history: {reason}", retry=False)
        await self._save()
        words = request.query_params.get("q", "")
        failed = request.query_params.get("failed") == "1"
        query = query_of(words, failed=failed, caller=_only(request))
        if "totals" in request.query_params:
            return _json(await self.history.totals(query) or {"problem": UNUSABLE})
        most = min(_number(request, "limit") or 100, MOST_FOUND)
        found = await self.history.find(query, _number(request, "before"), most)
        if found is None:  # said, so that nobody believes that nothing has happened
            return _json({"exchanges": [], "more": False, "problem": UNUSABLE})
        items = [_shown(item, query.caller) for item in found.items]
        return _json({"exchanges": items, "more": found.more})

    async def _plan(self, request: Request) -> Response:
        """What would be tried for `model`, or again for the exchange `request`."""
        asked, model = (request.query_params.get(name, "") for name in ("request", "model"))
        item = await self._kept(asked, _only(request)) if asked else None
        if asked and item is None:
            raise NoRoute(f"no exchange {asked[:80]!r} is kept", retry=False)
        model = model or (item["model_asked"] if item else "")
        if not model:
            raise InvalidRequest("`model` or `request` is required")
        if not (model.strip() and model.isprintable() and len(model) <= _MODEL_CHARACTERS):
            limit = f"of at most {_MODEL_CHARACTERS} characters"
            raise InvalidRequest(f"`model` must be printable text {limit}")
        caller = request.scope["plugway.caller"]
        assert self._gateway is not None
        return _json(await planned(self._gateway, model, item, caller))

    async def _kept(self, request_id: str, only: str | None) -> Mapping[str, Any] | None:
        """The exchange with this id, from memory or from the history."""
        items: Iterable[Mapping[str, Any]] = self.book.kept
        if self.history is not None and all(one["request_id"] != request_id for one in items):
            await self._save()
            query = query_of(f"request:{request_id}", failed=False, caller=only)
            found = await self.history.find(query, None, 1)
            items = found.items if found else ()
        fitting = (one for one in items if one["request_id"] == request_id)
        return next((one for one in fitting if only in (None, one["caller"])), None)

    async def _state(self, request: Request) -> Response:
        """Which targets are skipped, and which models are in memory."""
        assert self._gateway is not None
        return _json(await state_of(self._gateway))

    async def _trials(self, request: Request) -> Response:
        """What the caller can try besides models; of each kind, what the first plugin offers."""
        assert self._gateway is not None
        found: dict[str, Trial] = {}
        for name, plugin in self._gateway.find(OffersTrials):
            try:
                offered = await anyio.to_thread.run_sync(plugin.trials)
            except Exception:  # another plugin's code; the page is shown without it
                self.log.exception("`%s` failed to say what can be tried", name)
                continue
            for trial in offered:
                if trial.limited_callers or _only(request) is None:
                    found.setdefault(trial.kind, trial)
        return _json({"trials": [trial._asdict() for trial in found.values()]})

    async def _advice(self, request: Request) -> Response:
        """Which local model fits this machine; the page requests it when its user asks."""
        return _json(await anyio.to_thread.run_sync(_advice))

    def _explained(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """The exchange with what was read from its prompt cache, if that is known."""
        for name, explainer in self._explainers:
            try:
                found = explainer.cache_of(item["request_id"])
            except Exception:  # another plugin's code; the exchange is shown without it
                self.log.exception("`%s` failed to explain what a cache had", name)
                continue
            if found is not None:
                item = {**item, "cache": found}
        return item


def _advice() -> dict[str, Any]:
    """What `plugway models recommend --json` prints here; measures the machine."""
    # Imported when it is first needed: it brings an HTTP client that a gateway starts without.
    from plugway_local_models import fitting

    return fitting.advise(fitting.read_machine(), installed=fitting.installed_models()).as_json()


async def _looked_at(
    request: MessagesRequest | None,
) -> tuple[Mapping[str, Any] | None, frozenset[str]]:
    """The shape of a request, and what it chooses besides the model; nothing of an invalid one.
    Long ones are searched in a thread."""
    if request is None:
        return None, frozenset()
    try:
        return await aside(request.heavy, lambda: (shape_of(request), choices_of(request)))
    except InvalidRequest:
        return None, frozenset()


def _only(request: Request) -> str | None:
    """The caller whose exchanges may be shown; None for those of all."""
    caller: Caller = request.scope["plugway.caller"]
    return caller.name if caller.limited else None


def _shown(item: Mapping[str, Any], only: str | None) -> Mapping[str, Any]:
    """The exchange, for a limited caller without what it says about the machines."""
    return item if only is None else {k: v for k, v in item.items() if k != "gateway"}


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _json(body: object) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")
