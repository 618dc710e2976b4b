"""A gateway with people, budgets and a metered upstream, for tests."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from plugway import Caller, NoOptions, Plugin, hookimpl
from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_budgets import Budgets
from plugway_budgets import _ledger as ledger
from plugway_budgets._limits import Balance, Limit, PeriodName, Unit, subject_of
from plugway_budgets._schema import CHARGE, SCHEMA
from plugway_prices import Prices, nano_dollars
from plugway_store import Store, StoreOptions, StorePlugin, open_store

DOLLARS: Mapping[str, Any] = {"up/*": {"input": 2, "output": 10, "cache_read": 0.2}}
CENT = nano_dollars("0.01")


@dataclass(frozen=True, slots=True)
class Person(Caller):
    """A person for tests: `key-NAME` or `key-NAME@GROUP,GROUP`."""

    person: str = ""
    groups: tuple[str, ...] = ()
    key: str = ""


class People(Plugin[NoOptions]):
    """Authenticates everybody."""

    @hookimpl
    async def authenticate(self, token: str) -> Caller | None:
        """The person that a token names."""
        if not token.startswith("key-"):
            return None
        name, _, groups = token.removeprefix("key-").partition("@")
        teams = tuple(one for one in groups.split(",") if one)
        return Person(name, models=("*",), person=name, groups=teams, key=f"k-{name}")


class Metered:
    """Answers as long as it may, up to `wanted` tokens, and reports what it used.

    Usage and `count_tokens`: https://platform.claude.com/docs/en/api/messages
    """

    def __init__(self, *, prompt: int = 1000, wanted: int = 500) -> None:
        self.prompt = prompt
        self.wanted = wanted
        self.countable = True
        self.headers: list[tuple[str, str]] = []

    def __call__(self, request: Any) -> Any:
        """The script for a request."""
        body = orjson.loads(request.body)
        if request.path.startswith("/v1/messages/count_tokens"):
            if self.countable:
                return respond(200, {"input_tokens": self.prompt})
            return respond(404, {"type": "error", "error": {"type": "not_found_error"}})
        usage = {
            "input_tokens": self.prompt,
            "output_tokens": min(self.wanted, body["max_tokens"]),
        }
        if body.get("stream"):
            return sse(anthropic_stream(usage=usage, model=body["model"]), headers=self.headers)
        return respond(200, anthropic_message(usage=usage, model=body["model"]), self.headers)


class Team:
    """A running gateway, its upstream and its database."""

    def __init__(
        self, running: Any, upstream: ScriptedUpstream, meter: Metered, store: Store
    ) -> None:
        self.running = running
        self.upstream = upstream
        self.meter = meter
        self.store = store

    async def limit(
        self, whose: str, amount: int, unit: Unit = "dollars", period: PeriodName = "day"
    ) -> None:
        """Set a limit; the gateway reads it at once."""
        await self.plugin.set(Limit(0, subject_of(whose), unit, amount, period))

    @property
    def plugin(self) -> Any:
        """The plugin under test."""
        return self.running.app.snapshot.gateway.find(Budgets)[0][1]

    async def ask(self, who: str = "ann", text: str = "hello", **fields: Any) -> httpx2.Response:
        """One request of a person."""
        return await self.running.client.post(
            "/v1/messages",
            content=orjson.dumps(request_body(text, **fields)),
            headers={"content-type": "application/json", "authorization": f"Bearer key-{who}"},
        )

    async def get(self, path: str, who: str = "ann") -> httpx2.Response:
        """Read a page as a person."""
        return await self.running.client.get(path, headers={"authorization": f"Bearer key-{who}"})

    async def settled(self) -> None:
        """Wait until all is booked."""
        assert await self.plugin.booked(10)

    async def balance(self, whose: str, unit: str = "dollars") -> Balance:
        """How much of a limit is used today, by its only owner."""
        await self.settled()
        limits = await self.store.read(ledger.all_limits)
        (limit,) = [one for one in limits[subject_of(whose)] if one.unit == unit]
        account = limit.account(limit.subject, self.plugin.now())
        return (await self.store.read(ledger.balances, [account]))[0]

    async def charges(self) -> list[Any]:
        """All charges."""
        await self.settled()
        return list(await self.store.all(CHARGE.select().order_by(CHARGE.c.at, CHARGE.c.id)))


@asynccontextmanager
async def team(
    database: Mapping[str, Any],
    *more: Plugin[Any],
    prices: Mapping[str, Any] = DOLLARS,
    backends: Any = None,
    meter: Metered | None = None,
    **options: Any,
) -> AsyncGenerator[Team]:
    """Serve a team; `more` plugins are listed before the budgets."""
    metered = meter or Metered()
    async with (
        ScriptedUpstream(otherwise=metered) as upstream,
        open_store(StoreOptions(**database)) as store,
    ):
        await store.migrate(SCHEMA)
        plugins = [
            build_plugin(StorePlugin, "store", **database),
            build_plugin(People, "people"),
            build_plugin(Prices, "prices", models=prices),
            *more,
            build_plugin(Budgets, "budgets", **options),
            *(
                backends(upstream.url)
                if backends
                else [build_plugin(Anthropic, "up", base_url=upstream.url, api_key="sk-ant-1")]
            ),
        ]
        async with gateway(plugins) as running:
            yield Team(running, upstream, metered, store)


def now() -> float:
    """Seconds since 1970."""
    return time.time()
