"""The cost of people with budgets for a request, and requests a second with PostgreSQL.

    python -m bench.budgets                about a minute
    python -m bench.budgets --json

Small requests to a backend that replies at once with a short stream run through the pipeline, in
this process and without sockets, in turn without and with `store`, `accounts` and `budgets`: the
key is authenticated, a reservation is made at three limits (person, group and key), and the usage
is booked, which happens after the reply. The figures are the differences of the lowest medians of
several blocks, because other work on the machine only adds. For requests a second, many run at
once, until all is booked; the CPU time of this process is what that costs without the database.

Goals: at most 1.0 ms more at the median with SQLite, 300 requests a second with PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from bench.plugins import Upstream, running, served
from plugway import Plugin
from plugway.config.config import parse_config
from plugway.http.snapshot import Snapshot
from plugway.testing import build_plugin, postgresql_server
from plugway_accounts import Accounts
from plugway_budgets import Budgets
from plugway_budgets._limits import Limit, subject_of
from plugway_prices import Prices
from plugway_store import StorePlugin

GOAL_MS = 1.0
GOAL_RATE = 300
ROUNDS = 12
BLOCK = 40
AT_ONCE = 16
LOAD = 1500
PRICES = {"up/*": {"input": 2, "output": 10}}


BODY = json.dumps(
    {
        "model": "up/m",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "hello"}],
    }
).encode()
LINES = ((b"x-claude-code-session-id", b"5d6b0b04-1"), (b"content-type", b"application/json"))


class Stack:
    """A gateway without sockets, with or without people."""

    def __init__(self, database: Mapping[str, Any] | None) -> None:
        """`database` has the options of `store`; None for a stack without people."""
        self.plugins: list[Plugin[Any]] = []
        if database is not None:
            self.plugins = [
                build_plugin(StorePlugin, "store", **database),
                build_plugin(Accounts, "accounts"),
                build_plugin(Prices, "prices", models=PRICES),
                build_plugin(Budgets, "budgets"),
            ]
        upstream = Upstream(5, native=True)
        self.snapshot = Snapshot(parse_config("plugins: []", "bench"), [*self.plugins, upstream])
        self.key = ""
        self.written = 0

    async def fill(self) -> None:
        """Add a person with three budgets, and issue a key."""
        if not self.plugins:
            return
        _, accounts, _, budgets = self.plugins
        assert isinstance(accounts, Accounts)
        assert isinstance(budgets, Budgets)
        people = accounts.people
        await people.add_group("dev")
        await people.add("ann", groups=["dev"])
        issued = await people.issue("ann")
        for whose in ("person:ann", "group:dev", f"key:{issued.id}"):
            limit = Limit(0, subject_of(whose), "dollars", 10**15)
            await budgets.set(limit)
        self.key = issued.secret

    async def once(self) -> float:
        """Milliseconds of one request, from its key to its last byte."""
        began = time.perf_counter()
        caller = await self.snapshot.hooks.authenticate(self.key.encode()) if self.key else None
        self.written += await served(self.snapshot.exchanges, BODY, LINES, caller)
        return (time.perf_counter() - began) * 1000

    async def block(self) -> float:
        """The median of some requests, one after the other."""
        times = [await self.once() for _ in range(BLOCK)]
        await self.booked()
        return statistics.median(times)

    async def booked(self) -> None:
        """Wait until all is booked."""
        if self.plugins:
            budgets = self.plugins[-1]
            assert isinstance(budgets, Budgets)
            assert await budgets.booked(60)

    async def rate(self) -> tuple[float, float]:
        """Requests a second with many at once, and CPU milliseconds of each."""
        numbers = iter(range(LOAD))

        async def some() -> None:
            for _ in numbers:
                await self.once()

        began, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(some)
        await self.booked()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return LOAD / seconds, cpu * 1000 / LOAD


async def measure(rounds: int) -> dict[str, float]:
    """The figures by name."""
    with postgresql_server() as server, tempfile.TemporaryDirectory() as folder:
        databases: dict[str, Mapping[str, Any] | None] = {
            "none": None,
            "sqlite": {"url": str(Path(folder) / "store.db")},
            "postgresql": server.database(),
        }
        async with AsyncExitStack() as exits:
            stacks = {name: Stack(options) for name, options in databases.items()}
            for stack in stacks.values():
                await exits.enter_async_context(running(stack.snapshot))
                await stack.fill()
            times: dict[str, list[float]] = {name: [] for name in stacks}
            for number in range(rounds + 1):
                for name, stack in stacks.items():
                    middle = await stack.block()
                    times[name] += [middle] if number else []
            rates = {name: await stack.rate() for name, stack in stacks.items()}
    least = {name: min(found) for name, found in times.items()}
    found = {"plain_ms": least["none"]}
    for name in ("sqlite", "postgresql"):
        found[f"{name}_more_ms"] = least[name] - least["none"]
        found[f"{name}_times"] = least[name] / least["none"]
    for name, (rate, cpu) in rates.items():
        found |= {f"{name}_per_second": rate, f"{name}_cpu_ms": cpu}
    return found


def main() -> int:
    """Print the figures; the exit status says whether the goals are met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options.rounds))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, figure in found.items():
            print(f"{name:24} {figure:10.3f}")
    met = found["sqlite_more_ms"] <= GOAL_MS and found["postgresql_per_second"] >= GOAL_RATE
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
