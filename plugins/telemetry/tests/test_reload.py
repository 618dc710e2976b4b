"""A reload keeps the sums and the port, changes the rest, and leaves nothing behind."""

from __future__ import annotations

import httpx2
import orjson
import otlp
import pytest
from needed import port  # noqa: F401  a fixture

from plugway.config.config import parse_config
from plugway.testing import LeakCheck, gateway
from plugway.types.errors import PluginError
from plugway_telemetry import Telemetry
from plugway_telemetry import _names as names
from plugway_telemetry import _prometheus as served

pytestmark = pytest.mark.anyio


def configured(*more, **options):
    """A configuration with telemetry and an echo backend."""
    entries = [{"use": "telemetry", "options": options}, {"use": "echo"}, *more]
    document = {"server": {"token": "test-token"}, "plugins": entries}
    return parse_config(orjson.dumps(document).decode(), "test")


async def scrape(port):  # noqa: F811
    async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
        return await client.get(f"http://127.0.0.1:{port}/metrics")


def current(running):
    ((_, plugin),) = running.app.snapshot.gateway.find(Telemetry)
    return plugin


async def reload(running, config):
    """Reload, and wait until the configuration before it is closed."""
    old = running.app.snapshot
    await running.app.reload(config)
    await old.closed.wait()


async def test_sums_continue_and_the_port_stays_open(port):  # noqa: F811
    async with gateway([]) as running:
        await reload(running, configured(port=port, open_port=True))
        first = current(running)
        await running.ask("hello", model="echo/m")
        await reload(running, configured(port=port, open_port=True, max_models=1))
        assert current(running) is not first
        await running.ask("hello", model="echo/m")
        current(running).recorder.drain()
        counted = dict(current(running).store.numbers(names.EXCHANGES))
        assert counted == {("messages", "completed", "owner"): 2}
        assert (await scrape(port)).status_code in (200, 501)
        await reload(running, configured())
        with pytest.raises(httpx2.ConnectError):
            await scrape(port)


async def test_a_refused_configuration_leaves_the_port_and_the_exporter_alone(port):  # noqa: F811
    async with otlp.Collector() as collector, gateway([]) as running:
        options = {"port": port, "open_port": True, "endpoint": collector.url}
        await reload(running, configured(**options))
        first = current(running)
        with served.bind("127.0.0.1", 0) as taken:
            other = {"use": "telemetry", "name": "second"}
            other["options"] = {"port": taken.getsockname()[1], "open_port": True}
            with pytest.raises(PluginError, match="is in use"):
                await running.app.reload(configured(other, **options))
        assert current(running) is first
        assert first.store.owners == [first]
        assert (await scrape(port)).status_code in (200, 501)
        await running.ask("hello", model="echo/m")
    assert len(collector.spans()) == 2


async def test_another_collector_gets_what_comes_after_the_reload_and_nothing_leaks():
    async with otlp.Collector() as first, otlp.Collector() as second, gateway([]) as running:
        await running.app.reload(configured())
        await running.client.get("/health")
        async with LeakCheck(rss_slack=None):
            for collector in (first, second):
                await reload(running, configured(endpoint=collector.url, span_seconds=60))
                await running.ask("hello", model="echo/m")
            await reload(running, configured())
            await running.ask("hello", model="echo/m")
    assert len(first.spans()) == len(second.spans()) == 2
    assert [request.path for request in first.requests] == ["/v1/traces"]
    assert [request.path for request in second.requests] == ["/v1/traces", "/v1/metrics"]
