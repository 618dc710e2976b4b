"""A reply that several clients get is paid for once, wherever tokens and costs are counted."""

import anyio
import pytest

from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_cache_watch import CacheWatch
from plugway_dashboard import Dashboard
from plugway_mcp import Mcp
from plugway_prices import Prices
from plugway_resilience import Resilience
from plugway_telemetry import Telemetry
from plugway_telemetry import _names as names

pytestmark = pytest.mark.anyio
USAGE = {"input_tokens": 100_000, "cache_read_input_tokens": 2000, "output_tokens": 1000}
SESSION = {"x-claude-code-session-id": "5e55", "x-stainless-timeout": "1"}


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_reply_that_two_clients_get_costs_once(leaves, caplog):
    caplog.set_level("INFO")
    go = anyio.Event()
    slow = [WaitFor(go), *sse(anthropic_stream("Done.", usage=USAGE))]
    body = request_body(model="up/large", stream=True)
    async with ScriptedUpstream(slow) as upstream:
        cloud = build_plugin(AnthropicCompatible, "up", base_url=upstream.url, models=["large"])
        telemetry, mcp = build_plugin(Telemetry, "telemetry", scrape=True), build_plugin(Mcp, "mcp")
        price = {"input": 10, "output": 20, "cache_read": 1, "cache_write": 10}
        plugins = [
            telemetry,
            mcp,
            build_plugin(CacheWatch, "cache-watch"),
            build_plugin(Dashboard, "dashboard"),
            build_plugin(Resilience, "resilience"),
            build_plugin(Prices, "prices", models={"up/*": price}),
            cloud,
        ]
        async with gateway(plugins) as running:

            async def ask(scope=None):
                with scope or anyio.CancelScope():
                    await running.client.post("/v1/messages", json=body, headers=SESSION)

            first = anyio.CancelScope()
            async with anyio.create_task_group() as group:
                group.start_soon(ask, first)
                await upstream.wait_for_request(1)
                group.start_soon(ask)
                with anyio.fail_after(10):
                    while "joined the reply" not in caplog.text:
                        await anyio.sleep(0.01)
                if leaves:
                    first.cancel()
                go.set()
            with anyio.fail_after(10):
                while len(found := await ended(running)) < 2:
                    await anyio.sleep(0.01)
    assert sum(one["dollars"] or 0 for one in found) == pytest.approx(1.022)
    assert sum(one["usage"]["output"] for one in found) == 1000
    assert mcp.totals.targets["up/large"].output == 1000
    assert sum(dict(telemetry._drained().numbers(names.TOKENS)).values()) == 103_000
    assert [one["cache"]["cause"] for one in found if one.get("cache")] == ["first"]


async def ended(running):
    return (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
