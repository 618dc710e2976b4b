"""The cost of `permissions-watch`: for a request, and for what it looks at.

    python -m bench.permissions_watch             about 20 seconds

An audit hook cannot be removed, so each measurement is a process of its own, in turn with and
without the plugin. 115 KB requests to a backend that replies at once run through the pipeline, each
in a task of its own, without sockets. The figures are ratios, with / without, of the lowest times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from bench import bodies
from bench.plugins import Upstream, running, served
from plugway.config.config import parse_config
from plugway.http.snapshot import Snapshot
from plugway.testing import build_plugin
from plugway_permissions_watch import PermissionsWatch

BATCH = 200
REPEATS = 15


def lowest(run: Callable[[], object]) -> float:
    """Microseconds of one of `BATCH` calls."""
    found: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(BATCH):
            run()
        found.append((time.perf_counter() - began) * 1e6 / BATCH)
    return min(found)


async def measure(*, watched: bool) -> dict[str, float]:
    """Microseconds of each kind, in this process."""
    plugins = [build_plugin(PermissionsWatch, "watch")] if watched else []
    snapshot = Snapshot(parse_config("plugins: []", "bench"), [*plugins, Upstream(5, native=True)])
    body = bodies.big("", stream=True).replace(b'"model":"', b'"model":"up/', 1)
    lines = ((b"content-type", b"application/json"),)
    path = str(Path(__file__))
    requests: list[float] = []
    tasks: list[float] = []
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(running(snapshot))
        for _ in range(REPEATS):
            began = time.perf_counter()
            for _ in range(BATCH):
                await asyncio.create_task(served(snapshot.exchanges, body, lines))
            requests.append((time.perf_counter() - began) * 1e6 / BATCH)
            began = time.perf_counter()
            for _ in range(BATCH):
                await asyncio.create_task(asyncio.sleep(0))
            tasks.append((time.perf_counter() - began) * 1e6 / BATCH)
        return {
            "request": min(requests),
            "task": min(tasks),
            "file that is opened": lowest(lambda: open(path).close()),  # noqa: SIM115
            "other event": lowest(lambda: sys.audit("bench.event")),
        }


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", choices=["with", "without"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(asyncio.run(measure(watched=options.arm == "with"))))
        return 0
    costs: dict[str, dict[str, float]] = {"with": {}, "without": {}}
    for _ in range(options.rounds):
        for arm, best in costs.items():
            words = [sys.executable, "-m", "bench.permissions_watch", "--arm", arm]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            for name, figure in json.loads(done.stdout).items():
                best[name] = min(figure, best.get(name, figure))
    for name, without in costs["without"].items():
        found = costs["with"][name]
        print(f"{name:20} {without:8.2f} us -> {found:8.2f} us   x {found / without:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
