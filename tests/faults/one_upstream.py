"""A gateway in front of one upstream, to test the upstream's faults."""

from contextlib import asynccontextmanager

import anyio
import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import (
    Cut,
    RawClient,
    Reset,
    ScriptedUpstream,
    anthropic_stream,
    build_plugin,
    gateway,
    messages_request,
    request_body,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from tests.kernel.forward_proxy import ForwardProxy

EVENTS = anthropic_stream(
    ["Hel", "lo \u00e9."], thinking="Hm.", tool_calls=[("Read", {"path": "a.txt"})]
)
OVERLOADED = ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
PING = ("ping", {"type": "ping"})
ENDS = {"fin": Cut(), "rst": Reset(), "bad chunk": b"zz\r\n"}
BROKEN_OFF = {**ENDS, "clean": None}


class Watch(Plugin[NoOptions]):
    """Records the outcomes of exchanges."""

    def __init__(self):
        super().__init__(NoOptions(), name="watch")
        self.outcomes = []

    @hookimpl
    async def finished(self, exchange, outcome):
        self.outcomes.append(outcome)


class Bench:
    def __init__(self, running, upstream, watch):
        self.running, self.upstream, self.watch = running, upstream, watch

    async def ask(self, stream=True, **fields):
        """The complete response, however it ends."""
        body = request_body("x", stream=stream, **fields)
        host = f"127.0.0.1:{self.running.port}"
        async with RawClient(self.running.url) as client:
            await client.send(messages_request(body, self.running.token, host=host))
            return await client.read()

    async def outcome(self):
        with anyio.fail_after(5):
            while not self.watch.outcomes:
                await anyio.sleep(0.005)
        return self.watch.outcomes[-1]


_PROXIED = [False]


@pytest.fixture(params=["direct", pytest.param("proxy", marks=pytest.mark.slow)])
def transport(request):
    """How `bench` reaches its upstream: by connections of our own, or through a proxy by httpx2."""
    _PROXIED[0] = request.param == "proxy"
    yield request.param
    _PROXIED[0] = False


@asynccontextmanager
async def bench(*scripts, native=False, url=None, zone="vendor", **server):
    """A gateway in front of one upstream that replies with `scripts`, one after the other."""
    limits = {"first_event_seconds": 2, "first_event_local_seconds": 2, **server}
    watch = Watch()
    async with ScriptedUpstream(*scripts) as upstream, ForwardProxy() as proxy:
        way = {"base_url": url or upstream.url, **({"proxy": proxy.url} if _PROXIED[0] else {})}
        if native:
            plugin = build_plugin(Anthropic, "up", api_key="k", **way)
        else:
            plugin = build_plugin(AnthropicCompatible, "up", zone=zone, **way)
        async with gateway([watch, plugin], **limits) as running:
            yield Bench(running, upstream, watch)


def told(response):
    """Status, type and message of an error."""
    found = response.json
    assert found["type"] == "error"
    assert response.header("content-type") == "application/json"
    assert response.header("request-id")
    return response.status, found["error"]["type"], found["error"]["message"]
