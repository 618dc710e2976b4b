"""Two entries, other clients, small collectors and odd requests."""

from __future__ import annotations

import random
from contextlib import suppress

import anyio
import httpx2
import orjson
import otlp
import pytest
from needed import port, prometheus  # noqa: F401  fixtures
from test_export import dropped, exporter
from test_metrics import scrape
from test_reload import reload
from test_traces import PARENT, compatible

from plugway import NoOptions, Plugin, Upstream, hookimpl
from plugway.config.config import parse_config
from plugway.http.snapshot import Snapshot
from plugway.testing import (
    Cut,
    Hold,
    ScriptedUpstream,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway.types.errors import PluginError
from plugway_echo import Echo
from plugway_openai_api import OpenAIApi
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_telemetry import Telemetry
from plugway_telemetry import _names as names
from plugway_telemetry._context import new_context
from plugway_telemetry._store import Store
from plugway_toolbelt import Toolbelt
from plugway_tools import ToolResult, ToolSpec

pytestmark = pytest.mark.anyio
BUSY = anthropic_error(529, "overloaded_error", "Overloaded")


def entry(name, collector, **options):
    return build_plugin(Telemetry, name, endpoint=collector.url, **options)


async def test_two_collectors_get_each_attempt_once():
    async with (
        otlp.Collector() as one,
        otlp.Collector() as two,
        ScriptedUpstream(BUSY) as first,
        ScriptedUpstream() as second,
    ):
        entries = [entry("one", one), entry("two", two, ids="off")]
        router = build_plugin(Router, "router", models={"m": ["first/m-1", "second/m-2"]})
        backends = [compatible(first, "first"), compatible(second, "second")]
        async with gateway([*entries, router, *backends]) as running:
            reply = await running.post(request_body(model="m"))
            assert reply.status_code == 200
    for collector, plugin in zip((one, two), entries, strict=True):
        _, clients = otlp.server_and_clients(collector.spans())
        sent = [otlp.attributes(client)["plugway.attempt.result"] for client in clients]
        assert sent == ["529", "answered"]
        assert dict(plugin.store.numbers(names.IN_FLIGHT)) == {(): 0}
        counted = {labels[0]: n for labels, n in plugin.store.numbers(names.ATTEMPTS)}
        assert counted == {"first": 1, "second": 1}


async def test_a_collector_that_hangs_does_not_keep_the_other_one_waiting():
    async with otlp.Collector(otherwise=[Hold()]) as slow, otlp.Collector() as good:
        entries = [
            entry("slow", slow, span_seconds=0.001),
            entry("good", good, span_seconds=0.001),
        ]
        async with gateway([*entries, build_plugin(Echo, "echo")]) as running:
            await running.ask("hello", model="echo/m")
            with anyio.fail_after(5):
                await slow.wait_for_request(1)
                await good.wait_for_request(1)
    assert len(good.spans()) == 2


async def test_two_entries_that_both_serve_the_page_are_refused_with_the_reason():
    entries = [build_plugin(Telemetry, name, scrape=True) for name in ("one", "two")]
    async with anyio.create_task_group() as group:
        with pytest.raises(PluginError, match="`one` serves `/metrics` already"):
            await group.start(Snapshot(parse_config("plugins: []", "test"), entries).run)


async def test_behind_resilience_each_retry_knows_its_number():
    options = {"repeat_min_seconds": 0.001, "repeat_max_seconds": 0.002, "max_repeats": 2}
    async with otlp.Collector() as collector, ScriptedUpstream(BUSY, BUSY) as upstream:
        plugins = [build_plugin(Resilience, "resilience", **options), entry("t", collector)]
        async with gateway([*plugins, compatible(upstream)]) as running:
            assert (await running.post(request_body(model="up/m"))).status_code == 200
    _, clients = otlp.server_and_clients(collector.spans())
    sent = [otlp.attributes(client) for client in clients]
    assert [one["plugway.attempt.number"] for one in sent] == [1, 2, 3]
    assert [one.get("http.request.resend_count") for one in sent] == [None, 1, 2]


async def test_a_client_of_openais_api_continues_its_trace():
    async with otlp.Collector() as collector:
        plugins = [entry("t", collector), build_plugin(OpenAIApi, "api")]
        async with gateway([*plugins, build_plugin(Echo, "echo")]) as running:
            body = {"model": "echo/m", "messages": [{"role": "user", "content": "hello"}]}
            reply = await running.client.post(
                "/v1/chat/completions", json=body, headers={"traceparent": PARENT}
            )
            assert reply.status_code == 200
    server, clients = otlp.server_and_clients(collector.spans())
    assert server["parent_span_id"].hex() == "b7ad6b7169203331"
    assert len(clients) == 1


async def test_a_batch_that_is_too_large_for_the_collector_is_sent_in_parts():
    store, sizes = Store(), []

    def small(request):
        sizes.append(len(request.body))
        return respond(413 if len(request.body) > 4000 else 200, b"")

    async with otlp.Collector(otherwise=small) as collector, Upstream(collector.url) as upstream:
        sender = exporter(upstream, store)
        sender.add([b"\x12\x09\x2a\x07" + f"{n:07}".encode() for n in range(2000)])
        await sender.send_spans()
        taken = [
            span
            for request, size in zip(collector.requests, sizes, strict=True)
            if size <= 4000
            for span in otlp.read(request.body, otlp.TRACES)["resource_spans"][0]["scope_spans"][0][
                "spans"
            ]
        ]
    assert [int(span["name"]) for span in taken] == list(range(2000))
    assert dropped(store) == {}
    assert sum(size > 4000 for size in sizes) < 4, "it learned the size"


async def test_a_single_span_that_is_too_large_is_dropped(caplog):
    store = Store()
    too_large = respond(413, b"")
    async with otlp.Collector(otherwise=too_large) as collector, Upstream(collector.url) as up:
        sender = exporter(up, store)
        sender.add([b"", b"", b""])
        await sender.send_spans()
    assert dropped(store) == {("traces",): 3}
    assert "it sent status 413" in caplog.text


@pytest.mark.parametrize("name", ["Content-Length", "host", "transfer-encoding", "content-type"])
def test_a_header_that_the_exporter_writes_itself_is_refused(name):
    with pytest.raises(ValueError, match="is set by"):
        build_plugin(Telemetry, "t", endpoint="http://127.0.0.1:9", headers={name: "5"})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_about_that_share_of_new_traces_is_sampled(share, monkeypatch):
    source = random.Random(19)
    monkeypatch.setattr("plugway_telemetry._context.random", source)
    kept = sum(new_context(share).sampled for _ in range(4000))
    assert kept == pytest.approx(4000 * share, abs=100 * (0 < share < 1))


async def test_a_request_without_a_backend_has_a_span_and_no_attempt():
    async with otlp.Collector() as collector:
        echoes = [build_plugin(Echo, name) for name in ("one", "two")]
        async with gateway([entry("t", collector), *echoes]) as running:
            assert (await running.post(request_body(model="nowhere/m"))).status_code == 404
    server, clients = otlp.server_and_clients(collector.spans())
    found = otlp.attributes(server)
    assert (clients, found["error.type"], found["plugway.outcome"]) == ([], "404", "rejected")


@pytest.mark.parametrize(
    "model", ['echo/"} 1\\', "echo/a{b=c}", "echo/ÄÖ-模型", "echo/" + "x" * 240, "echo/{{7*7}}"]
)
async def test_hostile_models_are_labels_that_prometheus_reads(prometheus, model):  # noqa: F811
    from test_metrics import parsed

    plugin = build_plugin(Telemetry, "t", scrape=True)
    async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
        assert (await running.post(request_body(model=model))).status_code == 200
        reply = await running.client.get("/metrics")
    found = parsed(prometheus, reply)
    models = {dict(labels).get("gen_ai_request_model") for _, labels in found} - {None}
    name = model.removeprefix("echo/")
    assert models == {name if len(name) <= 128 else "other"}


class Reads(Plugin[NoOptions]):
    """A tool."""

    @hookimpl
    def register_routes(self):
        return []

    async def tools(self):
        return [ToolSpec("files_read", "Read", {"type": "object"}, "read", outside=False)]

    async def run_tool(self, call):
        return ToolResult.of("done")


async def test_tokens_of_all_requests_of_a_loop_in_the_gateway_are_counted_once():
    turns = [
        anthropic_stream(
            "",
            tool_calls=[("files_read", {"path": "x"})],
            usage={"input_tokens": 1000, "output_tokens": 10},
        ),
        anthropic_stream("It says so.", usage={"input_tokens": 1100, "output_tokens": 7}),
    ]
    async with otlp.Collector() as collector, ScriptedUpstream(*map(sse, turns)) as upstream:
        plugins = [
            entry("t", collector),
            build_plugin(Toolbelt, "toolbelt", grants=[{"tools": ["*"], "effects": ["read"]}]),
            Reads(NoOptions(), name="files"),
            compatible(upstream),
        ]
        async with gateway(plugins) as running:
            headers = {"plugway-toolbelt": "on"}
            body = request_body(model="up/m", stream=True)
            await running.client.post("/v1/messages", json=body, headers=headers)
            assert len(upstream.requests) == 2
        found = {
            labels["gen_ai.token.type"]: point["int"]
            for labels, point in otlp.points(collector.metrics()["plugway.tokens"])
        }
    assert (found["input"], found["output"]) == (2100, 17)


async def test_counts_at_the_limit_of_a_server_do_not_break_the_export():
    usage = {"input_tokens": 2**40 - 1, "output_tokens": 2**40 - 1}
    usage |= {"cache_read_input_tokens": 2**40 - 1, "cache_creation_input_tokens": -1}
    answer = respond(200, anthropic_message("hi", usage=usage))
    async with otlp.Collector() as collector, ScriptedUpstream(otherwise=answer) as upstream:
        async with gateway([entry("t", collector), compatible(upstream)]) as running:
            for _ in range(3):
                await running.post(request_body(model="up/m"))
        found = {
            labels["gen_ai.token.type"]: point["int"]
            for labels, point in otlp.points(collector.metrics()["plugway.tokens"])
        }
    assert found["cache_read"] == 3 * (2**40 - 1)
    assert len(collector.spans()) == 6


async def test_the_own_port_serves_nothing_but_metrics(port):  # noqa: F811
    plugin = build_plugin(Telemetry, "t", port=port, open_port=True)
    async with gateway([plugin, build_plugin(Echo, "echo")]):
        async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
            for path in ("/", "/v1/messages", "/dashboard/exchanges", "/metrics/../v1/models"):
                reply = await client.get(f"http://127.0.0.1:{port}{path}")
                assert reply.status_code == 404, path
            posted = await client.post(f"http://127.0.0.1:{port}/metrics", json={})
            assert posted.status_code == 405
        assert (await scrape(port)).status_code in (200, 501)


async def test_a_limited_callers_trace_is_continued_under_its_name():
    tokens = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
    async with otlp.Collector() as collector:
        plugin = entry("t", collector)
        async with gateway([plugin, build_plugin(Echo, "echo")], tokens=tokens) as running:
            lines = {"authorization": "Bearer phone-token", "traceparent": PARENT}
            body = request_body(model="echo/m")
            reply = await running.client.post("/v1/messages", json=body, headers=lines)
            assert reply.status_code == 200
    server, _ = otlp.server_and_clients(collector.spans())
    assert server["parent_span_id"].hex() == "b7ad6b7169203331"
    assert otlp.attributes(server)["plugway.caller"] == "phone"
    assert dict(plugin.store.numbers(names.EXCHANGES)) == {("messages", "completed", "phone"): 1}


async def test_what_is_not_sampled_is_still_counted():
    async with otlp.Collector() as collector:
        plugin = entry("t", collector, sample=0)
        async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
            for _ in range(3):
                await running.ask("hello", model="echo/m")
        counted = [p["int"] for _, p in otlp.points(collector.metrics()["plugway.exchanges"])]
    assert (collector.spans(), counted) == ([], [3])


async def test_a_cut_stream_stays_in_the_clients_trace():
    broken = sse(anthropic_stream(["a", "b", "c"])[:4], end=Cut())
    body, lines = request_body(model="up/m", stream=True), {"traceparent": PARENT}
    async with (
        otlp.Collector() as collector,
        ScriptedUpstream(broken) as upstream,
        gateway([entry("t", collector), compatible(upstream)]) as running,
    ):
        with suppress(httpx2.HTTPError):
            await running.client.post("/v1/messages", json=body, headers=lines)
    server, clients = otlp.server_and_clients(collector.spans())
    assert server["parent_span_id"].hex() == "b7ad6b7169203331"
    assert [otlp.attributes(one)["error.type"] for one in clients] == ["stream_interrupted"]


@pytest.mark.parametrize(
    ("said", "pause"),
    [("3600", 30), ("7", 7), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("-5", 1), ("x" * 500, 1)],
)
async def test_a_collector_cannot_make_the_exporter_wait_for_longer_than_half_a_minute(
    said, pause, monkeypatch
):
    busy, waited = respond(503, b"", (("retry-after", said),)), []

    async def sleep(seconds):
        waited.append(seconds)

    async with otlp.Collector(busy) as collector, Upstream(collector.url) as upstream:
        sender = exporter(upstream, Store())
        sender.add([b""])
        monkeypatch.setattr("plugway_telemetry._export.anyio.sleep", sleep)
        await sender.send_spans()
    assert waited == [pause]


@pytest.mark.parametrize(
    "answer",
    [
        respond(200, b"{}", (("content-type", "application/json"),)),
        respond(202, b""),
        respond(204, b""),
        respond(200, b"\x1f\x8b\x08\x00", (("content-encoding", "gzip"),)),
    ],
    ids=["json", "accepted", "no content", "gzip"],
)
async def test_answers_that_other_collectors_send_lose_nothing(answer):
    store = Store()
    async with otlp.Collector(answer) as collector, Upstream(collector.url) as upstream:
        sender = exporter(upstream, store)
        sender.add([b"", b""])
        await sender.send_spans(once=True)
        await sender.flush(5, traces=True, metrics=False)
    assert dropped(store) == {}


async def test_after_a_reload_each_of_two_entries_goes_on_with_its_own_sums():
    async with otlp.Collector() as one, otlp.Collector() as two, gateway([]) as running:
        for _ in range(2):
            entries = [
                {"use": "telemetry", "name": name, "options": {"endpoint": collector.url}}
                for name, collector in (("one", one), ("two", two))
            ]
            document = {
                "server": {"token": "test-token"},
                "plugins": [*entries, {"use": "echo"}],
            }
            config = parse_config(orjson.dumps(document).decode(), "test")
            await reload(running, config)
            await running.ask("hello", model="echo/m")
        for name, plugin in running.app.snapshot.gateway.find(Telemetry):
            plugin.recorder.drain()
            counted = dict(plugin.store.numbers(names.EXCHANGES))
            assert counted == {("messages", "completed", "owner"): 2}, name
