"""The cost of telemetry for a request: CPU time of the whole process, all threads included.

    python -m bench.telemetry             about 15 seconds
    python -m bench.telemetry --json

Small requests to a backend that replies at once with a short stream run through the pipeline, in
this process and without sockets, in turn with each way of using the plugin; spans go to a collector
in another process. The figure is the difference of the lowest costs from that of the stack without
the plugin, with the time of sending what the requests left: other work on the machine only adds.

Goal: 60 us per request with traces and metrics, and 5 us if the plugin is listed without options.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from bench.plugins import Upstream, running, served
from plugway.config.config import parse_config
from plugway.http.snapshot import Snapshot
from plugway.testing import build_plugin
from plugway_telemetry import Telemetry
from plugway_telemetry._names import DROPPED
from plugway_telemetry._recorder import BATCH

ON_GOAL_US = 60.0
OFF_GOAL_US = 5.0
LOWEST = 10
"""Measurements that count: as many of the lowest."""
SENT = 7
"""Measurements after which spans are sent; fewer than the exporter would send by itself."""
SINK = """
import asyncio
async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
            size = head.partition(b"content-length:")[2].partition(b"\\r")[0]
            await reader.readexactly(int(size))
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
    except asyncio.IncompleteReadError:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


LINES = (
    (b"x-claude-code-session-id", b"5d6b0b04-1"),
    (b"x-claude-code-agent-id", b"a774dc280157c31f9"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"content-type", b"application/json"),
)


class Stack:
    """A gateway without sockets, with or without the plugin."""

    def __init__(self, options: dict[str, Any] | None) -> None:
        """`options` of the plugin; None for a stack without it."""
        self.plugin = None if options is None else build_plugin(Telemetry, "telemetry", **options)
        upstream = Upstream(5, native=True)
        plugins = [*([self.plugin] if self.plugin else []), upstream]
        self.snapshot = Snapshot(parse_config("plugins: []", "bench"), plugins)
        message = {"role": "user", "content": "hello"}
        fields = {"model": "up/m", "max_tokens": 9, "stream": True, "messages": [message]}
        self.body = json.dumps(fields).encode()
        self.written = 0

    async def some(self) -> float:
        """CPU microseconds of a request: the mean of as many as the plugin records at once."""
        began = time.process_time()
        for _ in range(BATCH):
            self.written += await served(self.snapshot.exchanges, self.body, LINES)
        return (time.process_time() - began) * 1e6 / BATCH

    async def send(self) -> float:
        """CPU microseconds of sending what waits for the collector."""
        began = time.process_time()
        exporter = getattr(self.plugin, "_exporter", None)
        if exporter is not None:
            await exporter.send_spans()
        return (time.process_time() - began) * 1e6


async def measure(rounds: int, endpoint: str) -> dict[str, float]:
    """Microseconds that each way of using the plugin adds to a request, and `(none)`: those of a
    request without it."""
    traced = {"endpoint": endpoint, "span_seconds": 60}
    ways: dict[str, dict[str, Any] | None] = {
        "(none)": None,
        "listed, off": {},
        "metrics": {"scrape": True},
        "traces": {**traced, "metrics": False},
        "traces and metrics": {**traced, "scrape": True},
    }
    costs: dict[str, list[float]] = {name: [] for name in ways}
    sending: dict[str, list[float]] = {name: [] for name in ways}
    async with AsyncExitStack() as exits:
        stacks = {name: Stack(options) for name, options in ways.items()}
        for stack in stacks.values():
            await exits.enter_async_context(running(stack.snapshot))
        order = list(stacks.items())
        for number in range(rounds):
            random.shuffle(order)
            for name, stack in order:
                costs[name].append(await stack.some())
            if number % SENT == SENT - 1:
                for name, stack in order:
                    sending[name].append(await stack.send() / BATCH / SENT)
        for name, stack in stacks.items():
            assert stack.written, f"`{name}` replied"
            assert stack.plugin is None or not stack.plugin.store.numbers(DROPPED), "all arrived"
    found = {
        name: statistics.mean(sorted(costs[name])[:LOWEST]) + min(sending[name]) for name in ways
    }
    plain = found.pop("(none)")
    return {name: cost - plain for name, cost in found.items()} | {"(none)": plain}


def main() -> int:
    """Print the figures; the exit status says whether the goals are met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=120, help="measurements of each kind")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        endpoint = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
        found = asyncio.run(measure(options.rounds, endpoint))
    finally:
        sink.kill()
        sink.wait()
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, figure in found.items():
            share = figure / found["(none)"]
            print(f"{name:20} {figure:7.1f} us per request {share:7.1%}")
    met = found["traces and metrics"] < ON_GOAL_US and found["listed, off"] < OFF_GOAL_US
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
