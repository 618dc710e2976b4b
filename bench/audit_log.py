"""The cost of the audit log for a request: of the event loop, and of the whole process.

    python -m bench.audit_log             about 20 seconds
    python -m bench.audit_log --json

115 KB requests to a backend that replies at once run through the pipeline, in this process and
without sockets, in turn with and without the plugin. The path is the time in its two hooks,
on the event loop; the whole is CPU time of the process, with that of the writer's thread, as the
difference of the lowest costs.

Goal: 60 us on the path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack

import anyio

from bench import bodies
from bench.plugins import Upstream, running, served
from plugway import Exchange, MessagesRequest, Outcome, hookimpl
from plugway.config.config import parse_config
from plugway.http.snapshot import Snapshot
from plugway.testing import build_plugin
from plugway_audit_log import AuditLog

GOAL_US = 60.0
BATCH = 100
LINES = (
    (b"x-claude-code-session-id", b"5d6b0b04-1"),
    (b"x-claude-code-agent-id", b"a774dc280157c31f9"),
    (b"content-type", b"application/json"),
)


class Timed(AuditLog):
    """The plugin, with the time that its hooks take on the event loop."""

    spent = 0.0

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        began = time.perf_counter()
        super().transform_request(request, exchange)
        self.spent += time.perf_counter() - began

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        began = time.perf_counter()
        super().finished(exchange, outcome)
        self.spent += time.perf_counter() - began

    @property
    def waits(self) -> bool:
        """Whether records have not been written yet."""
        return self.writer is not None and bool(self.writer.waiting)


class Stack:
    """A gateway without sockets, with or without the plugin."""

    def __init__(self, plugin: Timed | None) -> None:
        self.plugin = plugin
        plugins = [*([plugin] if plugin else []), Upstream(5, native=True)]
        self.snapshot = Snapshot(parse_config("plugins: []", "bench"), plugins)
        self.body = bodies.big("", stream=True).replace(b'"model":"', b'"model":"up/', 1)

    async def some(self) -> float:
        """CPU microseconds of a request in the whole process, until its record is written."""
        began = time.process_time()
        for _ in range(BATCH):
            assert await served(self.snapshot.exchanges, self.body, LINES)
        while self.plugin is not None and self.plugin.waits:  # noqa: ASYNC110
            await anyio.sleep(0.002)
        return (time.process_time() - began) * 1e6 / BATCH


async def measure(rounds: int, folder: str) -> dict[str, float]:
    """Microseconds that the plugin adds to a request."""
    plugin = build_plugin(Timed, "audit-log", folder=folder)
    assert isinstance(plugin, Timed)
    stacks = {"without": Stack(None), "with": Stack(plugin)}
    costs: dict[str, list[float]] = {name: [] for name in stacks}
    path: list[float] = []
    async with AsyncExitStack() as exits:
        for stack in stacks.values():
            await exits.enter_async_context(running(stack.snapshot))
        for _ in range(rounds):
            for name, stack in stacks.items():
                plugin.spent = 0.0
                costs[name].append(await stack.some())
                if name == "with":
                    path.append(plugin.spent * 1e6 / BATCH)
    lowest = {name: statistics.mean(sorted(found)[:10]) for name, found in costs.items()}
    return {"path": statistics.median(path), "whole process": lowest["with"] - lowest["without"]}


def main() -> int:
    """Print the figures; the exit status says whether the goal is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help="measurements of each kind")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(options.rounds, folder))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, figure in found.items():
            print(f"{name:14} {figure:7.1f} us per request")
    return 0 if found["path"] < GOAL_US else 1


if __name__ == "__main__":
    sys.exit(main())
