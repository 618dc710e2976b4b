"""The cost of each plugin, alone in the stack, for a request on which it has nothing to do.

    python -m bench.plugins             about half a minute
    python -m bench.plugins --json

Everything from the body's bytes to the written reply runs in this process, without sockets: a
115 KB request to a backend that is not Anthropic's and replies with a stream of 1,000 events. In
each round the stack without a plugin and the stacks with one are timed in turn (CPU, best of
several runs); the figure is the median over rounds of the difference from the first.

Goals: under 0.2 ms per request, and nothing per event of a reply that a plugin does not handle,
such as Anthropic's to a request without tools. The cost of other events (text may contain a call,
thinking may need a signature) is printed next to it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from typing import Any

import anyio

from bench import bodies
from plugway import Attempt, Caller, MessagesRequest, ModelInfo, NoOptions, Plugin, Reply, hookimpl
from plugway.exchange.intake import ExchangeServer
from plugway.exchange.pipeline import Limits, Pipeline
from plugway.exchange.writer import AsgiChannel
from plugway.http.snapshot import Snapshot
from plugway.plugins.hooks import Hooks
from plugway.testing import anthropic_stream, build_plugin
from plugway_context_guard import ContextGuard
from plugway_dashboard import Dashboard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_local_answers import LocalAnswers
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_server_tools import ServerTools
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair

REQUEST_GOAL_MS = 0.2
EVENT_GOAL_US = 0.25
"""Differences below this count as nothing: equal stacks differ by as much. Looking at an event
costs 6 us."""
EVENTS = 1000
PLUGINS: dict[str, Callable[[], Plugin[Any]]] = {
    "resilience": lambda: build_plugin(Resilience, "resilience"),
    "router": lambda: build_plugin(Router, "router", models={"*": ["up/m"]}),
    "field-policy": lambda: build_plugin(FieldPolicy, "field-policy"),
    "dashboard": lambda: build_plugin(Dashboard, "dashboard"),
    "error-normalizer": lambda: build_plugin(ErrorNormalizer, "error-normalizer"),
    "context-guard": lambda: build_plugin(ContextGuard, "context-guard"),
    "server-tools": lambda: build_plugin(ServerTools, "server-tools"),
    "tool-repair": lambda: build_plugin(ToolRepair, "tool-repair"),
    "thinking": lambda: build_plugin(Thinking, "thinking"),
    "local-answers": lambda: build_plugin(LocalAnswers, "local-answers"),
}


class Upstream(Plugin[NoOptions]):
    """A backend that replies at once with the bytes of a stream, one event per chunk."""

    zone = "vendor"

    def __init__(self, events: int, *, native: bool) -> None:
        """`native` makes it count as Anthropic's."""
        self.native = native
        super().__init__(NoOptions(), name="up")
        self.pieces = [
            f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
            for name, data in anthropic_stream(["word "] * events)
        ]

    @hookimpl
    def register_backends(self) -> Sequence[Upstream]:
        """Itself."""
        return [self]

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The stream."""
        assert request.raw  # serializes the request, as a real backend does
        return Reply.relay(self._chunks())

    async def count(self, request: MessagesRequest, attempt: Attempt) -> None:
        """Returns None: it does not count."""

    async def models(self) -> Sequence[ModelInfo]:
        """One model, with a window that the request fits into."""
        return [ModelInfo("m", context_tokens=1_000_000)]

    async def _chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


class Faithful(AsgiChannel):
    """A channel to a client that never disconnects."""

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        return bool


async def served(
    server: ExchangeServer,
    body: bytes,
    lines: Sequence[tuple[bytes, bytes]],
    caller: Caller | None = None,
) -> int:
    """Send a request to `server` without sockets; returns the number of bytes of the reply."""
    sent, written = False, 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.get_running_loop().create_future()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal written
        written += len(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http",
        "headers": list(lines),
        "query_string": b"",
        "plugway.caller": caller,
        "extensions": {"plugway": Faithful(receive, send)},
    }
    await server.serve("messages", scope, receive, send)
    return written


_LINES = [(b"x-claude-code-session-id", b"s"), (b"content-type", b"application/json")]


@contextlib.asynccontextmanager
async def running(snapshot: Snapshot) -> AsyncIterator[None]:
    """The lifespans of a configuration's plugins."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(snapshot.run)
        yield
        snapshot.close()


class Stack:
    """A pipeline with at most one plugin, and the cost of a request through it."""

    def __init__(self, plugin: Plugin[Any] | None, events: int, *, agent: bool) -> None:
        """`agent` sends tools and thinking, to a backend other than Anthropic's."""
        self.plugin = plugin
        upstream = Upstream(events, native=not agent)
        plugins: list[Plugin[Any]] = [*([plugin] if plugin else []), upstream]
        check = getattr(plugin, "check", None)
        if check is not None:
            check({"up": upstream.zone})
        limits = Limits()
        pipeline = Pipeline(Hooks(plugins), {"up": upstream}, limits)
        self.server = ExchangeServer(pipeline, limits, max_body_bytes=2**25, body_seconds=30)
        self.body = bodies.big("x", stream=True)
        if not agent:
            fields = json.loads(self.body)
            del fields["tools"]
            self.body = json.dumps(fields).encode()
        self.written = 0

    async def once(self) -> float:
        """CPU milliseconds of one request."""
        began = time.process_time()
        self.written += await served(self.server, self.body, _LINES)
        return (time.process_time() - began) * 1000

    async def best(self, times: int) -> float:
        """The lowest of several runs."""
        return min([await self.once() for _ in range(times)])


async def measure(rounds: int, times: int) -> dict[str, dict[str, float]]:
    """Milliseconds that each plugin adds per request, and microseconds per event."""
    names = [None, *PLUGINS]
    stacks = {
        (name, agent, events): Stack(PLUGINS[name]() if name else None, events, agent=agent)
        for name in names
        for agent in (True, False)
        for events in (1, EVENTS)
    }
    costs: dict[tuple[str | None, bool, int], list[float]] = {key: [] for key in stacks}
    async with contextlib.AsyncExitStack() as exits:
        for stack in stacks.values():
            if isinstance(stack.plugin, ContextGuard):
                await exits.enter_async_context(stack.plugin.lifespan())
            await stack.best(3)
            assert stack.written > EVENTS, "it replied"
        for _ in range(rounds):
            for key, stack in stacks.items():
                costs[key].append(await stack.best(times if key[2] == 1 else max(3, times // 4)))

    def added(name: str, agent: bool, events: int) -> float:
        pairs = zip(costs[name, agent, events], costs[None, agent, events], strict=True)
        return statistics.median(a - b for a, b in pairs)

    def for_each_event(name: str, agent: bool) -> float:
        return (added(name, agent, EVENTS) - added(name, agent, 1)) / EVENTS * 1000

    found = {
        name: {
            "request_ms": added(name, True, 1),
            "event_us": for_each_event(name, False),
            "event_at_work_us": for_each_event(name, True),
        }
        for name in PLUGINS
    }
    least = statistics.median(costs[None, True, 1])
    event = (statistics.median(costs[None, True, EVENTS]) - least) / EVENTS * 1000
    found["(none)"] = {"request_ms": least, "event_us": event, "event_at_work_us": event}
    return found


def main() -> int:
    """Print the figures; the exit status says whether all goals are met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=20, help="requests per measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options.rounds, options.times))
    if options.json:
        print(json.dumps(found, indent=2))
    missed = 0
    for name, row in found.items():
        good = row["request_ms"] < REQUEST_GOAL_MS and row["event_us"] < EVENT_GOAL_US
        verdict = "" if name == "(none)" else "ok" if good else "MISSED"
        missed += verdict == "MISSED"
        if not options.json:
            figures = f"{row['request_ms']:7.3f} ms {row['event_us']:7.3f} us per event"
            print(f"{name:18} {figures}, {row['event_at_work_us']:6.2f} at work  {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
