"""Metrics: what is counted, how many there can be, and how Prometheus gets them."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib import import_module

import anyio
import httpx2
import orjson
import pytest
from needed import port, prometheus  # noqa: F401  fixtures

from plugway import Exchange, MessagesRequest
from plugway.config.config import parse_config
from plugway.http.snapshot import Snapshot
from plugway.testing import (
    Hold,
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway.types.errors import PluginError
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_echo import Echo
from plugway_telemetry import Telemetry
from plugway_telemetry import _names as names
from plugway_telemetry import _prometheus as served
from plugway_telemetry._recorder import BATCH
from plugway_telemetry._store import MAX_SERIES, OTHER, ModelNames, Store

pytestmark = pytest.mark.anyio
OPENMETRICS = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}


def telemetry(**options):
    return build_plugin(Telemetry, "telemetry", **({"scrape": True} | options))


def number(store, metric, *labels):
    return dict(store.numbers(metric)).get(labels, 0)


# ── what is counted ──────────────────────────────────────────────────────────────────────────────


async def test_every_outcome_and_every_result_is_counted_once():
    plugin = telemetry()
    held = Hold()
    scripts = [
        anthropic_error(400, "invalid_request_error", "no"),
        anthropic_error(500, "api_error", "no"),
        sse(anthropic_stream(["a", "b"])[:4], end=held),
    ]
    async with ScriptedUpstream(*scripts) as upstream:
        backend = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
        async with gateway([plugin, backend, build_plugin(Echo, "echo")]) as running:
            for _ in range(2):
                await running.post(request_body(model="up/m"))
            body = request_body(model="up/m", stream=True)
            async with running.client.stream("POST", "/v1/messages", json=body) as reply:
                async for _ in reply.aiter_raw():
                    break
            with anyio.fail_after(5):
                await upstream.requests[2].left.wait()
            await running.ask("hello", model="up/m")
            await running.post(request_body(model="nowhere/m"))
            await running.post({"model": "up/m"})
            await running.post(request_body(model="echo/m"), "/v1/messages/count_tokens")
    assert dict(plugin.store.numbers(names.EXCHANGES)) == {
        ("messages", "completed", "owner"): 1,
        ("messages", "rejected", "owner"): 3,
        ("messages", "failed", "owner"): 1,
        ("messages", "disconnected", "owner"): 1,
        ("count_tokens", "completed", "owner"): 1,
    }
    results = {labels[2]: value for labels, value in plugin.store.numbers(names.ATTEMPTS)}
    assert results == {"400": 1, "500": 1, "answered": 2}
    assert number(plugin.store, names.IN_FLIGHT) == 0


async def test_requests_in_flight_are_seen_while_they_run():
    plugin = telemetry()
    held = Hold()
    async with ScriptedUpstream(sse(anthropic_stream(["a", "b"])[:4], end=held)) as upstream:
        backend = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
        async with gateway([plugin, backend]) as running:
            body = request_body(model="up/m", stream=True)
            async with running.client.stream("POST", "/v1/messages", json=body) as reply:
                async for _ in reply.aiter_raw():
                    break
                assert number(plugin.store, names.IN_FLIGHT) == 1
                other = MessagesRequest(orjson.dumps(request_body(model="up/m")))
                await running.app.snapshot.gateway.plan(other)
                assert number(plugin.store, names.IN_FLIGHT) == 1, "planning is no exchange"
    assert number(plugin.store, names.IN_FLIGHT) == 0


# ── how many there can be ────────────────────────────────────────────────────────────────────────


async def test_ten_thousand_names_of_models_make_no_more_metrics_than_are_allowed():
    plugin = telemetry(models=["mine"], max_models=5)
    async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
        for name in ("a", "mine", *(f"random-{n}" for n in range(40))):
            await running.ask("x", model=f"echo/{name}")
        await running.ask("x", model="echo/mine")
    measured = {labels[2] for labels, _ in plugin.store.distributions(names.DURATION)}
    assert measured == {"mine", "a", *(f"random-{n}" for n in range(4)), OTHER}
    models = plugin.recorder.models
    for n in range(10_000):
        name = f"x{n}"
        models.admit(name, by_client=True)
        label = models.label(name)
        plugin.store.number(names.TOKENS, "owner", "echo", label, "input").add()
    assert len(plugin.store.numbers(names.TOKENS)) == 7 * 4, "four kinds of tokens for each"


def test_names_of_the_configuration_keep_their_places_when_a_client_takes_all_of_its_own():
    models = ModelNames((), 2)
    for n in range(100):
        models.admit(f"client-{n}", by_client=True)
    models.admit("configured", by_client=False)
    assert models.label("configured") == "configured"
    assert models.label("client-1") == "client-1"
    assert models.label("client-2") == OTHER


@pytest.mark.parametrize("name", ["a" * 129, "line\nbreak", "sk-ant-0123456789abcdef", "\x1b[31m"])
def test_odd_names_and_keys_are_never_named(name):
    models = ModelNames((), 10)
    models.admit(name, by_client=True)
    assert models.label(name) == OTHER


def test_series_beyond_the_limit_are_one():
    store = Store()
    for n in range(MAX_SERIES + 500):
        store.number(names.EXCHANGES, str(n), "completed", "owner").add()
        store.histogram(names.FIRST_TOKEN, "chat", "x", str(n), "b").record(1.0)
    assert len(store.numbers(names.EXCHANGES)) == MAX_SERIES + 1
    assert number(store, names.EXCHANGES, OTHER, OTHER, OTHER) == 500
    assert len(store.distributions(names.FIRST_TOKEN)) == MAX_SERIES + 1


# ── Prometheus ───────────────────────────────────────────────────────────────────────────────────


def parsed(prometheus, reply):  # noqa: F811
    """The samples of a reply by name and labels; the parser raises if the text is invalid."""
    strict = reply.headers["content-type"].startswith("application/openmetrics-text")
    folder = f"{prometheus.__name__}.openmetrics" if strict else prometheus.__name__
    families = import_module(f"{folder}.parser").text_string_to_metric_families(reply.text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize("headers", [{}, OPENMETRICS], ids=["text", "openmetrics"])
async def test_prometheus_reads_what_was_counted(prometheus, headers):  # noqa: F811
    plugin = telemetry()
    async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
        await running.ask("hello", model="echo/m")
        reply = await running.client.get("/metrics", headers=headers)
    assert reply.status_code == 200
    found = parsed(prometheus, reply)
    labels = (
        ("gen_ai_operation_name", "chat"),
        ("gen_ai_provider_name", "local"),
        ("gen_ai_request_model", "m"),
        ("plugway_backend", "echo"),
    )
    assert found["gen_ai_server_time_to_first_token_seconds_count", labels] == 1
    infinite = tuple(sorted([*labels, ("le", "+Inf")]))
    assert found["gen_ai_server_time_to_first_token_seconds_bucket", infinite] == 1
    ended = (
        ("plugway_caller", "owner"),
        ("plugway_endpoint", "messages"),
        ("plugway_outcome", "completed"),
    )
    assert found["plugway_exchanges_total", ended] == 1
    assert found["plugway_exchanges_in_flight", ()] == 0


async def test_the_page_needs_the_gateways_token_and_is_not_for_limited_callers(prometheus):  # noqa: F811
    tokens = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
    async with gateway([telemetry(), build_plugin(Echo, "echo")], tokens=tokens) as running:
        async with httpx2.AsyncClient(base_url=running.url, trust_env=False, verify=False) as other:
            assert (await other.get("/metrics")).status_code == 401
            phone = {"authorization": "Bearer phone-token"}
            assert (await other.get("/metrics", headers=phone)).status_code == 403
        assert (await running.client.get("/metrics")).status_code == 200


async def test_without_the_option_there_is_no_page():
    plugin = telemetry(scrape=False, endpoint="http://127.0.0.1:9")
    async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
        assert (await running.client.get("/metrics")).status_code == 404


async def test_many_scrapes_at_once_render_the_page_once(prometheus, monkeypatch):  # noqa: F811
    rendered = []
    collect = served._Collector.collect
    monkeypatch.setattr(
        served._Collector, "collect", lambda self: rendered.append(1) or collect(self)
    )
    monkeypatch.setattr(served, "FRESH_SECONDS", 600)
    async with gateway([telemetry(), build_plugin(Echo, "echo")]) as running:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(running.client.get, "/metrics")
        await running.client.get("/metrics", headers={"accept": "x/" + "y" * 5000})
    assert len(rendered) == 1


async def test_a_missing_library_is_named_in_the_log_and_in_the_reply(monkeypatch, caplog):
    for module in ("prometheus_client", "prometheus_client.exposition"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("plugway_telemetry._plugin.find_spec", lambda name: None)
    async with gateway([telemetry(), build_plugin(Echo, "echo")]) as running:
        reply = await running.client.get("/metrics")
    assert reply.status_code == 501
    for text in (reply.text, caplog.text):
        assert "pip install 'prometheus-client>=0.26,<1'" in text


# ── an own port ──────────────────────────────────────────────────────────────────────────────────


async def scrape(port, *, host=None, **headers):  # noqa: F811
    url = f"http://127.0.0.1:{port}/metrics"
    lines = headers | ({"host": host} if host else {})
    async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
        return await client.get(url, headers=lines)


async def test_the_own_port_requires_its_token(prometheus, port):  # noqa: F811
    plugin = telemetry(scrape=False, port=port, scrape_token="scrape-me")
    async with gateway([plugin, build_plugin(Echo, "echo")]):
        for wrong in ("", "Bearer", "Bearer wrong", "Basic scrape-me", "scrape-me", "Bearer é"):
            reply = await scrape(port, authorization=wrong.encode("latin-1"))
            assert (reply.status_code, "plugway_" in reply.text) == (401, False)
        reply = await scrape(port, host="prometheus.example", authorization="Bearer scrape-me")
        assert reply.status_code == 200
        assert parsed(prometheus, reply)
    with pytest.raises(httpx2.ConnectError):
        await scrape(port)


async def test_an_open_port_refuses_names_that_a_web_page_could_use(prometheus, port):  # noqa: F811
    plugin = telemetry(scrape=False, port=port, open_port=True)
    async with gateway([plugin, build_plugin(Echo, "echo")]):
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "["):
            reply = await scrape(port, host=host)
            assert (reply.status_code, "plugway_" in reply.text) == (421, False)
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "LOCALHOST"):
            assert (await scrape(port, host=host)).status_code == 200


async def test_a_port_in_use_stops_the_start_and_names_the_option(port):  # noqa: F811
    plugin = telemetry(scrape=False, port=port, open_port=True)
    with served.bind("127.0.0.1", port):
        async with anyio.create_task_group() as group:
            with pytest.raises(PluginError, match=f"port {port} is in use.*set another `port`"):
                await group.start(Snapshot(parse_config("plugins: []", "test"), [plugin]).run)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"port": 9464}, "set either `scrape_token` or `open_port`"),
        ({"port": 9464, "open_port": True, "scrape_token": "x"}, "either"),
        ({"endpoint": "http://127.0.0.1:4318/v1/traces"}, "without `/v1/traces`"),
        ({"endpoint": "http://user:pass@collector:4318"}, "must not contain a user"),
        ({"endpoint": "http://collector:4318", "credential": "x"}, "clear text"),
        ({"endpoint": "ftp://collector"}, "http"),
        ({"headers": {"x-api-key": "a"}}, "looks secret"),
        ({"headers": {"a b": "a"}}, "not a valid header name"),
        ({"headers": {"x-a": "a\r\nb: c"}}, "printable"),
        ({"credential_header": "a:b"}, "not a valid header name"),
        ({"resource": {"Bad Name": "a"}}, "should be a name"),
        ({"sample": 1.5}, "less than or equal to 1"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_a_reason(options, reason):
    with pytest.raises(ValueError, match=reason):
        telemetry(**options)


def test_nothing_of_opentelemetry_or_prometheus_is_imported_before_it_is_needed():
    code = (
        "import sys, plugway_telemetry\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus', 'google'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_metric_has_a_valid_name_in_prometheus():
    for metric in names.METRICS:
        assert names.prometheus_name(metric).replace("_", "").isalnum()
        assert list(metric.buckets) == sorted(set(metric.buckets))


async def test_what_waits_to_be_recorded_keeps_no_exchange_and_is_bounded():
    plugin = telemetry()
    async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
        before = exchanges_in_memory()
        for number in range(BATCH - 1):
            await running.ask("hello", model="echo/m")
            assert len(plugin.recorder._ended) == number + 1
        assert exchanges_in_memory() - before < 3
        await running.ask("hello", model="echo/m")
        assert plugin.recorder._ended == []
        assert plugin.store.numbers(names.EXCHANGES) == [
            (("messages", "completed", "owner"), BATCH)
        ]


def exchanges_in_memory():
    gc.collect()
    return sum(isinstance(one, Exchange) for one in gc.get_objects())
