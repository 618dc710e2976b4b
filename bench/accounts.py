"""What a person's key adds to a request, compared with a limited token of the configuration.

    python -m bench.accounts            about half a minute
    python -m bench.accounts --json

One gateway with a backend that replies at once, one connection, requests in turn: with a token
from `server.tokens`, which is found in memory, and with a key, which is looked up in the database
for every request. The figures are medians of whole requests in this run.

Goal: under 0.3 ms with SQLite. PostgreSQL is measured where it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from _pytest.outcomes import Skipped

from plugway.testing import PlainBackend, build_plugin, gateway, postgresql_server, request_body
from plugway_accounts import Accounts
from plugway_store import StorePlugin

GOAL_MS = 0.3
ROUNDS = 1500
TOKEN = "token-of-the-configuration"


async def measured(database: Mapping[str, Any]) -> dict[str, float]:
    """The medians in milliseconds, and their difference."""
    accounts = build_plugin(Accounts, "accounts")
    store = build_plugin(StorePlugin, "store", **database)
    limited = [{"name": "phone", "token": TOKEN, "models": ["*"]}]
    async with gateway(
        [store, accounts, build_plugin(PlainBackend, "plain")], tokens=limited
    ) as running:
        assert isinstance(accounts, Accounts)
        await accounts.people.add_group("staff")
        await accounts.people.add("ann", groups=["staff"])
        key = (await accounts.people.issue("ann")).secret
        times: dict[str, list[float]] = {TOKEN: [], key: []}
        async with httpx2.AsyncClient(
            base_url=running.url, trust_env=False, verify=False
        ) as client:
            for round_number in range(-50, ROUNDS):
                for token, kept in times.items():
                    taken = await _once(client, token)
                    if round_number >= 0:
                        kept.append(taken)
    token, person = (statistics.median(kept) * 1000 for kept in times.values())
    return {"token_ms": token, "key_ms": person, "added_ms": person - token}


async def _once(client: httpx2.AsyncClient, token: str) -> float:
    start = time.perf_counter()
    response = await client.post(
        "/v1/messages",
        json=request_body(model="plain/m"),
        headers={"authorization": f"Bearer {token}"},
    )
    response.raise_for_status()
    return time.perf_counter() - start


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        found["sqlite"] = await measured({"url": str(Path(folder) / "store.db")})
    try:
        with postgresql_server() as server:
            found["postgresql"] = await measured(server.database())
    except Skipped as reason:
        print(f"PostgreSQL: {reason}")
    if arguments.json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        print(
            f"{name:<12}token {figures['token_ms']:.2f} ms   key {figures['key_ms']:.2f} ms   "
            f"added {figures['added_ms']:.2f} ms"
        )
    met = "met" if found["sqlite"]["added_ms"] < GOAL_MS else "missed"
    print(f"goal: under {GOAL_MS} ms with SQLite: {met}")


if __name__ == "__main__":
    asyncio.run(main())
