"""The plugin: measures finished exchanges, and gives advice to other plugins."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson
import platformdirs

from plugway import (
    Exchange,
    Gateway,
    MessagesRequest,
    Outcome,
    Plugin,
    StateKey,
    Usage,
    as_object,
    hookimpl,
    write_file,
)
from plugway_endpoints import Advice, Endpoint, Needs, TellsCosts
from plugway_recommend._choose import Candidate, choose
from plugway_recommend._options import Price, RecommendOptions
from plugway_recommend._speeds import Speeds

SAVE_SECONDS: Final = 60.0
_STREAMED: StateKey[bool] = StateKey("recommend.streamed")


class Recommend(Plugin[RecommendOptions]):
    """Recommends an endpoint by the conversation's size and measured speeds; sends no request."""

    def __init__(self, options: RecommendOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.speeds = Speeds()
        self._zones: dict[str, str] = {}
        self._gateway: Gateway | None = None

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report prices of backends that do not exist."""
        self._zones = dict(zones)
        known = [f"{name}/" for name in zones]
        return [
            (
                ("prices", pattern),
                "names no configured backend; use `INSTANCE/MODEL`, `INSTANCE/*` or `*`",
            )
            for pattern in self.options.prices
            if "*" not in pattern.partition("/")[0] and not pattern.startswith(tuple(known))
        ]

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """Measurements are read at startup and written at shutdown."""
        self._gateway = gateway
        return self._live()

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Record whether the reply is a stream: only streams can be timed."""
        if request.stream:
            exchange.state[_STREAMED] = True

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Measure. An exchange with several attempts says nothing about a target's speed."""
        served = exchange.served_by
        if served is None or exchange.endpoint != "messages":
            return
        alone = exchange.answers == len(exchange.attempts) == 1
        streamed = alone and exchange.state.get(_STREAMED) is True
        now = time.time()
        self.speeds.learn(served.target, outcome, streamed=streamed, now=now)

    # ── for other plugins: `plugway_endpoints.Advises` ───────────────────────────────────────

    def advise(self, needs: Needs, endpoints: Sequence[Endpoint], now: str = "") -> Advice:
        """The best endpoint for a conversation; `now` is the target that serves it."""
        candidates = [self._candidate(e, needs, now) for e in endpoints if not e.alias]
        options = self.options
        return choose(candidates, needs, options.patience_seconds, options.answer_tokens)

    def cost(self, target: str, usage: Usage) -> float | None:
        """Cost of an exchange in US dollars, if need be according to another plugin; None if no
        price is known."""
        price = self._price(target)
        if price is None:
            return self._cost_elsewhere(target, usage)
        cached = price.input if price.cached is None else price.cached
        fresh = usage.input_tokens + usage.cache_creation_tokens
        parts = fresh * price.input + usage.cache_read_tokens * cached
        return (parts + usage.output_tokens * price.output) / 1e6

    def facts(self, target: str) -> Mapping[str, Any]:
        """Speeds in tokens/s, and failures."""
        return asdict(self.speeds[target])

    def _candidate(self, endpoint: Endpoint, needs: Needs, now: str) -> Candidate:
        speed = self.speeds[endpoint.id]
        here = endpoint.id == now
        fresh = min(needs.tokens, 2000) if here else needs.tokens
        answer = self.options.answer_tokens
        usage = Usage(fresh, answer, needs.tokens - fresh)
        return Candidate(
            endpoint=endpoint,
            speed=speed,
            seconds=speed.seconds(fresh, answer),
            dollars=self.cost(endpoint.id, usage),
            failing=speed.failing(time.time()),
            here=here,
        )

    def _cost_elsewhere(self, target: str, usage: Usage) -> float | None:
        found = self._gateway.find(TellsCosts) if self._gateway else ()
        others = (one.cost(target, usage) for _, one in found if not isinstance(one, Recommend))
        return next((cost for cost in others if cost is not None), None)

    def _price(self, target: str) -> Price | None:
        for pattern, price in self.options.prices.items():
            if fnmatchcase(target, pattern):
                return price
        local = self._zones.get(target.partition("/")[0]) == "local"
        return Price(input=0, output=0) if local else None

    # ── kept across a restart ────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _live(self) -> AsyncGenerator[None]:
        self.speeds.take(await anyio.to_thread.run_sync(_read))
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep)
                yield
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_write, self.speeds.dump())

    async def _keep(self) -> None:
        written: Mapping[str, Any] = self.speeds.dump()
        while True:
            await anyio.sleep(SAVE_SECONDS)
            dump = self.speeds.dump()
            if dump != written:
                await anyio.to_thread.run_sync(_write, dump)
                written = dump


def _file() -> Path:
    return platformdirs.user_state_path("plugway", appauthor=False) / "speeds.json"


def _read() -> Mapping[str, Any]:
    try:
        return as_object(orjson.loads(_file().read_bytes()))
    except (OSError, orjson.JSONDecodeError):
        return {}


def _write(dump: Mapping[str, Any]) -> None:
    path = _file()
    if not dump:
        return
    try:
        write_file(path, orjson.dumps(dump))
    except OSError:
        return  # measured again after the next start
