"""A gateway with the plugin `bench` in front of scripted upstreams, and runs through it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

from plugway.testing import (
    Sleep,
    StrictUpstream,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_bench import Bench
from plugway_bench._run import Plan, Run
from plugway_bench._samples import Endpoint
from plugway_prices import FREE

FIRST = 0.1
STEP = 0.02
PIECES = 21
ALL = ("turn", "turns", "tools")


def tokens_of(request):
    """A plausible count: four bytes a token."""
    return len(request.body) // 4


def reply(request, *, calls=(), cached=0.0, output=41, first=0.0, step=0.004):
    """A stream that begins after `first` seconds and goes on every `step`, with its usage."""
    if request.path.endswith("/count_tokens"):
        return respond(200, {"input_tokens": tokens_of(request)})
    prompt = tokens_of(request)
    read = int(prompt * cached)
    usage = {"input_tokens": prompt - read, "cache_read_input_tokens": read}
    usage |= {"cache_creation_input_tokens": 0, "output_tokens": output}
    text = "" if calls else [f"word{number} " for number in range(PIECES)]
    events = anthropic_stream(text, tool_calls=calls, usage=usage, model="m")
    steps = [events[0], Sleep(first), events[1]]
    for number, event in enumerate(events[2:]):
        steps += [event] if calls or not 0 < number < PIECES else [Sleep(step), event]
    return sse(steps)


def timed(request):
    """A stream of known speed."""
    return reply(request, first=FIRST, step=STEP)


def upstream(answer=reply):
    """An upstream of the Messages API (https://docs.claude.com/en/api/messages), strict about what
    its vendor refuses; keys are left out here."""
    return StrictUpstream("messages", otherwise=answer, without=["key_header"])


@asynccontextmanager
async def served(*upstreams, plugin=True, before=()):
    """A gateway with one backend for each upstream, `up0`, `up1`, ..."""
    async with AsyncExitStack() as stack:
        backends = []
        for number, one in enumerate(upstreams):
            await stack.enter_async_context(one)
            options = {"base_url": one.url, "models": ["m"]}
            backends.append(build_plugin(AnthropicCompatible, f"up{number}", **options))
        own = [build_plugin(Bench, "bench")] if plugin else []
        yield await stack.enter_async_context(gateway([*before, *backends, *own]))


def endpoint(number=0, price=FREE):
    return Endpoint(f"up{number}", "local", "m", 0, price)


async def measured(g, *endpoints, workloads=ALL, rounds=2, seconds=20.0):
    """The result of a run, by endpoint."""
    run = Run(Plan(workloads, rounds, seed=7), endpoints or [endpoint()])
    await run.run(g.url, g.token, seconds, lambda *_: None)
    assert run.complete
    return {row.endpoint: row for row in run.result().endpoints}
