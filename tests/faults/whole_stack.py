"""The default stack with a backend for each API, in a thread whose event loop is measured."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from asyncio import events
from contextlib import asynccontextmanager, contextmanager

from plugway.testing import build_plugin, gateway
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_auto_mode import AutoMode
from plugway_context_guard import ContextGuard
from plugway_dashboard import Dashboard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_local_answers import LocalAnswers
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_resilience import Resilience, ResilienceOptions
from plugway_router import Router
from plugway_server_tools import ServerTools
from plugway_switch import Switch
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair

BACKENDS = ("messages", "own", "chat", "responses", "gemini", "ollama")
QUICK = {
    "repeat_min_seconds": 0,
    "repeat_max_seconds": 0.01,
    "breaker_failures": 10**6,
    "breaker_least_calls": 10**6,
}
"""No target is skipped, so that each reply is processed."""


def whole_stack(url):
    """Each plugin of the default configuration, and a backend for each API at one address: each
    with its own path, so that the upstream knows the API."""
    return [
        build_plugin(Dashboard, "dashboard"),
        build_plugin(AutoMode, "auto-mode"),
        build_plugin(OpenAIApi, "openai-api"),
        build_plugin(LocalAnswers, "local-answers"),
        build_plugin(Switch, "switch"),
        build_plugin(Thinking, "thinking"),
        build_plugin(Resilience, "resilience", **QUICK),
        build_plugin(ErrorNormalizer, "error-normalizer"),
        build_plugin(ServerTools, "server-tools"),
        build_plugin(ToolRepair, "tool-repair"),
        build_plugin(ContextGuard, "context-guard"),
        build_plugin(FieldPolicy, "field-policy"),
        build_plugin(Router, "router", models={f"{n}-m": [f"{n}/m"] for n in BACKENDS}),
        build_plugin(AnthropicCompatible, "messages", base_url=f"{url}/messages", zone="local"),
        build_plugin(Anthropic, "own", api_key="k" * 9, base_url=f"{url}/own"),
        build_plugin(OpenAICompatible, "chat", base_url=f"{url}/chat"),
        build_plugin(OpenAI, "responses", api_key="k" * 9, base_url=f"{url}/responses"),
        build_plugin(Gemini, "gemini", api_key="k" * 9, base_url=f"{url}/gemini"),
        build_plugin(Ollama, "ollama", base_url=f"{url}/ollama"),
    ]


class Hours:
    """A clock that advances much from one exchange to the next, so that limits which an upstream
    reports do not delay later requests."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def hourly_stack(hours, url="http://127.0.0.1:9"):
    """`whole_stack` with that clock. Models called `two-...` have another target, of the same
    backend."""
    plugins = whole_stack(url)
    at = next(n for n, plugin in enumerate(plugins) if isinstance(plugin, Resilience))
    options = ResilienceOptions.model_validate({**QUICK, "rate_limit_wait_seconds": 0})
    plugins[at] = Resilience(options, name="resilience", clock=hours)
    at = next(n for n, plugin in enumerate(plugins) if isinstance(plugin, Router))
    models = {f"two-{name}-*": [f"{name}/one", f"{name}/two"] for name in BACKENDS}
    plugins[at] = build_plugin(Router, "router", models=models)
    return plugins


class LoopTime:
    """The longest time that one callback blocked a loop, in CPU seconds of its thread, so that
    other programs on the machine do not count."""

    def __init__(self):
        self.longest = 0.0
        self.what = ""

    def take(self):
        """The longest time since the last call, and its callback."""
        found = self.longest, self.what
        self.longest, self.what = 0.0, ""
        return found

    @contextmanager
    def watching(self, thread):
        """Measure all callbacks of a loop in `thread`."""
        real = events.Handle._run

        def run(handle):
            if threading.get_ident() != thread:
                return real(handle)
            began = time.thread_time()
            try:
                return real(handle)
            finally:
                spent = time.thread_time() - began
                if spent > self.longest:
                    self.longest, self.what = spent, repr(handle)[:300]

        events.Handle._run = run
        try:
            yield
        finally:
            events.Handle._run = real


def slowness():
    """How much slower this machine is than the one that the budget was set on, at least 1."""
    best = min(_work() for _ in range(5))
    return max(1.0, best / REFERENCE_SECONDS)


REFERENCE_SECONDS = 0.02
"""Duration of `_work` on that machine."""


def _work():
    began = time.thread_time()
    total = 0
    for number in range(300_000):
        total += number % 7
    return time.thread_time() - began


@asynccontextmanager
async def watched_gateway(plugins, **server):
    """A gateway in a separate thread: yields it and the time of its loop."""
    here = asyncio.get_running_loop()
    ready: asyncio.Future = here.create_future()
    spent = LoopTime()

    async def serve():
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        gc.collect()
        gc.freeze()  # as the server does: the test's own objects are not the gateway's
        with spent.watching(threading.get_ident()):
            async with gateway(plugins, **server) as running:
                found = (running, lambda: loop.call_soon_threadsafe(stop.set))
                here.call_soon_threadsafe(ready.set_result, found)
                await stop.wait()

    def work():
        try:
            asyncio.run(serve())
        except BaseException as error:
            if not ready.done():
                here.call_soon_threadsafe(ready.set_exception, error)
            raise

    thread = threading.Thread(target=work, name="gateway")
    thread.start()
    running, stop = await ready
    try:
        yield running, spent
    finally:
        stop()
        await asyncio.to_thread(thread.join)
        gc.unfreeze()
