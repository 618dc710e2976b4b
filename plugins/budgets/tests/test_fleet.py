"""Three gateways with one PostgreSQL and one Redis, any of which is killed in the middle.

The upstream keeps its own account of what it answered, which the database must match.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import httpx2
import orjson
import pytest
import sqlalchemy as sa
from team import CENT

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    postgresql_server,
    redis_server,
    request_body,
    respond,
)
from plugway_accounts import SCHEMA as PEOPLE
from plugway_accounts import People
from plugway_budgets import _ledger as ledger
from plugway_budgets._limits import Limit, subject_of
from plugway_budgets._schema import ACCOUNT, CHARGE, LEASE, RESERVATION, SCHEMA
from plugway_prices import nano_dollars
from plugway_store import StoreError, StoreOptions, open_store

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(240)]

MAIN = "from plugway.cli.main import main; main()"
GATEWAYS = 3
REQUESTS = 500
AT_ONCE = 12
PROMPT, PRICE_IN, PRICE_OUT = 200, 2000, 10_000


@dataclass
class Fleet:
    """Gateways as processes, their servers, and what the upstream answered."""

    folder: object
    store: object
    keys: list[str]
    postgres: object
    redis: object
    config: str
    ports: list[int] = field(default_factory=list)
    processes: dict[int, subprocess.Popen] = field(default_factory=dict)
    answered: list[int] = field(default_factory=list)
    statuses: Counter = field(default_factory=Counter)

    def start(self, port):
        path = self.folder / f"{port}.yaml"
        path.write_text(self.config.replace("PORT", str(port)))
        path.chmod(0o600)
        command = [sys.executable, "-c", MAIN, "serve", "--config", str(path)]
        state = str(self.folder / str(port))
        places = {f"XDG_{name}_HOME": state for name in ("CONFIG", "DATA", "STATE")}
        with (self.folder / f"{port}.log").open("ab") as log:
            self.processes[port] = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | places
            )

    def kill(self, port):
        self.processes[port].send_signal(signal.SIGKILL)
        self.processes[port].wait()

    async def up(self, port):
        """Wait until a gateway answers."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            with anyio.fail_after(60):
                while True:
                    try:
                        return await client.get(f"http://127.0.0.1:{port}/health")
                    except httpx2.TransportError:
                        assert self.processes[port].poll() is None, self.log(port)
                        await anyio.sleep(0.05)

    def log(self, port):
        return (self.folder / f"{port}.log").read_text()

    async def load(self, *, requests=REQUESTS, middle=None, max_tokens=50):
        """Requests of all people to all gateways, some at once; `middle` happens among them."""
        numbers = iter(range(requests))

        async def one_by_one(client):
            for number in numbers:
                if middle is not None and number == requests // 3:
                    group.start_soon(middle)
                port = random.choice(self.ports)
                body = orjson.dumps(request_body(f"q{number}", model="up/m", max_tokens=max_tokens))
                headers = {
                    "authorization": f"Bearer {self.keys[number % len(self.keys)]}",
                    "content-type": "application/json",
                }
                try:
                    response = await client.post(
                        f"http://127.0.0.1:{port}/v1/messages", content=body, headers=headers
                    )
                    self.statuses[response.status_code] += 1
                except httpx2.TransportError:
                    self.statuses["lost"] += 1

        async with (
            httpx2.AsyncClient(trust_env=False, timeout=60) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(AT_ONCE):
                group.start_soon(one_by_one, client)

    async def settled(self):
        """Wait until nothing is reserved; a gateway that lives releases what a dead one reserved.

        The leases are ended instead of waited for.
        """
        with suppress(StoreError):  # if the server was killed
            await self.store.execute(sa.update(LEASE).values(expires=1))
        await self.store.execute(sa.update(LEASE).values(expires=1))
        with anyio.fail_after(30):
            while await self.store.all(sa.select(RESERVATION)):
                await anyio.sleep(0.1)
            # Reservations of gateways that live were released too: they book without them.
            before = None
            while before != (before := await self.booked()):
                await anyio.sleep(1)

    async def booked(self):
        """(what the charges say, what the accounts say, what is reserved) in nano-dollars."""
        charges = await self.store.first(sa.select(sa.func.sum(CHARGE.c.nano)))
        accounts = await self.store.first(
            sa.select(sa.func.sum(ACCOUNT.c.spent), sa.func.sum(ACCOUNT.c.reserved))
        )
        return int(charges[0] or 0), int(accounts[0] or 0), int(accounts[1] or 0)


@asynccontextmanager
async def fleet(folder, *, budget):
    answered = []

    def answer(request):
        if not request.body:
            return respond(200, {"data": [], "has_more": False})
        body = orjson.loads(request.body)
        if "count_tokens" in request.path:
            return respond(200, {"input_tokens": PROMPT})
        output = random.randrange(1, body["max_tokens"] + 1)
        answered.append(PROMPT * PRICE_IN + output * PRICE_OUT)
        usage = {"input_tokens": PROMPT, "output_tokens": output}
        return respond(200, anthropic_message(usage=usage, model="m"))

    with postgresql_server() as postgres, redis_server() as redis:
        database = postgres.database()
        options = {**database, **redis.options, "busy_seconds": 2.0, "connections": 4}
        secrets = folder / "password"
        secrets.write_text(options["password"])
        secrets.chmod(0o600)
        (folder / "key").write_text("sk-ant-1")
        (folder / "key").chmod(0o600)
        (folder / "token").write_text("t" * 40)
        (folder / "token").chmod(0o600)
        reference = {"$file": str(secrets)}
        stored = {**options, "password": reference, "redis_password": reference}
        async with (
            ScriptedUpstream(otherwise=answer) as upstream,
            open_store(StoreOptions(**database)) as store,
        ):
            await store.migrate(PEOPLE)
            await store.migrate(SCHEMA)
            people = People(store)
            keys = []
            for name in ("ann", "bob", "eve"):
                await people.add(name)
                keys.append((await people.issue(name)).secret)
                limit = Limit(0, subject_of(f"person:{name}"), "requests", 10**6)
                await store.write(ledger.set_limit, limit)
                limit = Limit(0, subject_of(f"person:{name}"), "dollars", budget)
                await store.write(ledger.set_limit, limit)
            config = {
                "server": {"port": "PORT", "token": {"$file": str(folder / "token")}},
                "plugins": [
                    {"use": "store", "options": stored},
                    {"use": "accounts"},
                    {
                        "use": "prices",
                        "options": {"models": {"up/*": {"input": 2, "output": 10}}},
                    },
                    {"use": "budgets", "options": {"wait_seconds": 0.2}},
                    {
                        "use": "anthropic",
                        "name": "up",
                        "options": {
                            "base_url": upstream.url,
                            "api_key": {"$file": str(folder / "key")},
                        },
                    },
                ],
            }
            text = json.dumps(config).replace('"PORT"', "PORT")
            made = Fleet(folder, store, keys, postgres, redis, text, answered=answered)
            try:
                for _ in range(GATEWAYS):
                    with socket.socket() as one:
                        one.bind(("127.0.0.1", 0))
                        made.ports.append(one.getsockname()[1])
                for port in made.ports:
                    made.start(port)
                for port in made.ports:
                    await made.up(port)
                yield made
            finally:
                for process in made.processes.values():
                    process.kill()
                    process.wait()


async def test_three_gateways_never_spend_more_than_the_budgets(tmp_path):
    budget = 15 * CENT
    async with fleet(tmp_path, budget=budget) as found:
        await found.load(requests=300, max_tokens=1000)
        await found.settled()
        charges, accounts, reserved = await found.booked()
        rows = await found.store.all(sa.select(ACCOUNT.c.spent))
    assert (charges, reserved) == (accounts, 0) == (sum(found.answered), 0)
    assert all(row.spent <= budget for row in rows if row.spent)
    assert found.statuses[429] > 50
    # What is left of each does not pay for a prompt and the shortest reply.
    assert charges > 3 * (budget - 2 * (PROMPT * PRICE_IN + 1024 * PRICE_OUT))


async def test_a_gateway_that_is_killed_loses_only_what_was_in_flight(tmp_path):
    async with fleet(tmp_path, budget=nano_dollars(100)) as found:

        async def middle():
            port = found.ports.pop()
            found.kill(port)
            found.start(port)
            await found.up(port)
            found.ports.append(port)

        await found.load(middle=middle)
        await found.settled()
        charges, accounts, reserved = await found.booked()
    assert (charges, reserved) == (accounts, 0)
    missing = sum(found.answered) - charges
    most = max(found.answered)
    assert missing >= 0, "nothing is counted twice"
    logs = "".join(found.log(port) for port in found.ports)
    assert missing <= AT_ONCE * most, f"only what was in flight is lost:\n{logs}"
    assert found.statuses[200] >= REQUESTS - 2 * AT_ONCE - found.statuses["lost"]


async def test_a_database_that_is_killed_loses_nothing(tmp_path):
    async with fleet(tmp_path, budget=nano_dollars(100)) as found:

        async def middle():
            found.postgres.kill()
            await anyio.sleep(1)
            await anyio.to_thread.run_sync(found.postgres.start)

        await found.load(middle=middle)
        await found.load(requests=30)
        await found.settled()
        charges, accounts, reserved = await found.booked()
    assert (charges, accounts, reserved) == (sum(found.answered), charges, 0)
    assert found.statuses[200] > 30
    assert set(found.statuses) <= {200, 429, 503}, found.statuses


async def test_a_redis_that_is_killed_loses_no_spending(tmp_path):
    async with fleet(tmp_path, budget=nano_dollars(100)) as found:

        async def middle():
            found.redis.kill()
            await anyio.sleep(1)
            await anyio.to_thread.run_sync(found.redis.start)

        await found.load(middle=middle)
        await found.load(requests=30)
        await found.settled()
        charges, accounts, reserved = await found.booked()
    assert (charges, accounts, reserved) == (sum(found.answered), charges, 0)
    assert set(found.statuses) <= {200, 429, 503}, found.statuses
