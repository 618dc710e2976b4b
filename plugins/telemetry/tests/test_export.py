"""The collector may refuse, hang, lie or be gone: nothing waits for it, and losses are counted."""

from __future__ import annotations

import logging

import anyio
import otlp
import pytest

from plugway import Upstream
from plugway.testing import Hold, Reset, build_plugin, gateway, request_body, respond
from plugway_echo import Echo
from plugway_log import redact
from plugway_telemetry import Telemetry
from plugway_telemetry import _names as names
from plugway_telemetry._export import MAX_BATCH, MAX_WAITING, Exporter
from plugway_telemetry._store import Store

pytestmark = pytest.mark.anyio
CANARY = "canary-7d1f"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def exporter(upstream, store, clock=None, **options):
    settings = {"headers": {}, "span_seconds": 0.001, "metric_seconds": 60, "drain": bool} | options
    log = logging.getLogger("plugway.telemetry-test")
    return Exporter(upstream, {"service.name": "x"}, store, log, clock=clock or Clock(), **settings)


def dropped(store):
    return dict(store.numbers(names.DROPPED))


@pytest.mark.parametrize(
    ("script", "lost"),
    [
        pytest.param(respond(400, b"no"), 3, id="refused for good"),
        pytest.param(respond(503, b"later"), 0, id="refused for now"),
        pytest.param(respond(302, b"", (("location", "http://127.0.0.1:1/"),)), 3, id="redirect"),
        pytest.param([Reset()], 0, id="reset"),
        pytest.param(respond(200, b"\x0a\x02\x08\x02"), 2, id="two of them rejected"),
        pytest.param(respond(200, b"x" * 10_000_000), 3, id="a response of 10 MB"),
        pytest.param(respond(200, b"not protobuf"), 0, id="another format"),
    ],
)
async def test_what_the_collector_answers_decides_what_is_lost(script, lost):
    store = Store()
    async with otlp.Collector(script) as collector, Upstream(collector.url) as upstream:
        sender = exporter(upstream, store)
        sender.add([b"", b"", b""])
        await sender.send_spans(once=True)
        assert dropped(store).get(("traces",), 0) == lost
        await sender.flush(5, traces=True, metrics=False)
    assert dropped(store).get(("traces",), 0) == lost, "what was kept was sent at the end"


async def test_a_retry_sends_the_same_spans_in_order():
    store = Store()
    busy = respond(429, b"", (("retry-after", "0"),))
    async with otlp.Collector(busy) as collector, Upstream(collector.url) as upstream:
        sender = exporter(upstream, store)
        spans = [b"\x12\x02\x2a\x00", b"\x12\x03\x2a\x01b"]
        sender.add(spans)
        await sender.send_spans(once=True)
        sender.add([b"\x12\x03\x2a\x01c"])
        await sender.send_spans(once=True)
    first, second = collector.requests
    assert second.body.endswith(first.body[-20:]) or len(second.body) > len(first.body)
    assert [span["name"] for span in collector.spans()][-3:] == ["", "b", "c"]
    assert dropped(store) == {}


async def test_the_queue_is_bounded_and_keeps_the_newest():
    store = Store()
    async with otlp.Collector() as collector, Upstream(collector.url) as upstream:
        sender = exporter(upstream, store)
        for number in range(MAX_WAITING + 10):
            name = f"{number:06}".encode()
            sender.add([b"\x12\x08\x2a\x06" + name])
        assert dropped(store) == {("traces",): 10}
        await sender.send_spans()
    names_ = [int(span["name"]) for span in collector.spans()]
    assert names_ == list(range(10, MAX_WAITING + 10))
    assert len(collector.requests) == MAX_WAITING // MAX_BATCH


async def test_a_collector_that_is_down_is_logged_once_a_minute_and_its_return_once(caplog):
    store, clock = Store(), Clock()
    down = respond(503, CANARY.encode())
    async with otlp.Collector(down, down, down) as collector, Upstream(collector.url) as upstream:
        sender = exporter(upstream, store, clock)
        with caplog.at_level(logging.INFO, "plugway.telemetry-test"):
            for step in (0, 59, 2):
                clock.now += step
                sender.add([b""])
                await sender.send_spans(once=True)
            assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
            await sender.send_spans(once=True)
    assert "it sent status 503" in caplog.text
    assert caplog.records[-1].message == "the collector is available again"
    assert CANARY not in caplog.text


async def test_a_collector_that_takes_no_metrics_is_recognized_and_the_fix_is_named(caplog):
    store = Store()
    async with otlp.Collector(respond(404, b"")) as collector, Upstream(collector.url) as upstream:
        await exporter(upstream, store).send_metrics()
    assert "it does not take metrics: set `metrics: false`" in caplog.text
    assert dropped(store) == {("metrics",): 1}


async def test_a_collector_that_hangs_delays_neither_requests_nor_the_stop():
    options = {"span_seconds": 0.001, "metric_seconds": 0.01}
    async with otlp.Collector(otherwise=[Hold()]) as collector:
        telemetry = build_plugin(Telemetry, "telemetry", endpoint=collector.url, **options)
        with anyio.fail_after(9):  # less than the exporter waits for a response
            async with gateway([telemetry, build_plugin(Echo, "echo")]) as running:
                await running.ask("hello", model="echo/m")
                await collector.wait_for_request(2)
                await running.ask("hello", model="echo/m")
    assert dropped(telemetry.store)[("traces",)] == 4


async def test_nothing_secret_and_nothing_said_is_exported(caplog, monkeypatch):
    monkeypatch.setenv("SECRET", CANARY)
    caplog.set_level(logging.DEBUG, logger="plugway")
    refused = respond(500, CANARY.encode(), (("x-echo", CANARY),))
    async with otlp.Collector(refused) as collector:
        telemetry = build_plugin(
            Telemetry,
            "telemetry",
            endpoint=collector.url,
            credential=f"Bearer {CANARY}",
            credential_header="x-collector-key",
            ids="hashed",
            scrape=True,
        )
        async with gateway([telemetry, build_plugin(Echo, "echo")]) as running:
            lines = {
                "x-api-key": CANARY,
                "cookie": CANARY,
                "user-agent": CANARY,
                "anthropic-beta": CANARY,
                "x-claude-code-session-id": CANARY,
                "x-claude-code-agent-id": CANARY,
                "traceparent": f"00-{CANARY}",
                "tracestate": f"a b={CANARY}",
            }
            fields = {
                "system": CANARY,
                "metadata": {"user_id": CANARY},
                "stop_sequences": [CANARY],
                "tools": [{"name": CANARY, "input_schema": {"type": "object"}}],
            }
            for stream in (True, False):
                body = request_body(CANARY, model="echo/m", stream=stream, **fields)
                url = f"/v1/messages?key={CANARY}"
                reply = await running.client.post(url, json=body, headers=lines)
                assert CANARY in reply.text, "the model said it"
            body = request_body(CANARY, model=f"sk-ant-{CANARY}-0123456789", **fields)
            await running.client.post("/v1/messages", json=body, headers=lines)
    assert len(collector.spans()) > 4
    assert collector.requests[0].header("x-collector-key") == f"Bearer {CANARY}"
    assert CANARY.encode() not in b"".join(request.body for request in collector.requests)
    assert all(CANARY not in request.path for request in collector.requests)
    assert "echo/sk-" in caplog.text, "the gateway's own lines are among them"
    assert CANARY not in redact(caplog.text)  # as the gateway's log writes it


async def test_metrics_are_exported_with_the_resource_and_the_headers():
    async with otlp.Collector() as collector:
        telemetry = build_plugin(
            Telemetry,
            "telemetry",
            endpoint=f"{collector.url}/base/",
            headers={"X-Scope-OrgID": "team-a"},
            resource={"deployment.environment.name": "test"},
            traces=False,
        )
        async with gateway([telemetry, build_plugin(Echo, "echo")]) as running:
            await running.ask("hello", model="echo/m")
            await running.post(request_body(model="echo/m"), "/v1/messages/count_tokens")
    (request,) = collector.requests
    assert request.path == "/base/v1/metrics"
    assert request.header("x-scope-orgid") == "team-a"
    found = collector.metrics()
    exchanges = {
        tuple(labels.values()): p["int"] for labels, p in otlp.points(found["plugway.exchanges"])
    }
    assert exchanges == {
        ("messages", "completed", "owner"): 1,
        ("count_tokens", "completed", "owner"): 1,
    }
    ((labels, point),) = otlp.points(found["gen_ai.client.operation.duration"])
    assert labels == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "local",
        "gen_ai.request.model": "m",
        "plugway.backend": "echo",
    }
    assert point["count"] == sum(point["bucket_counts"]) == 1
    assert point["sum"] > 0
    assert {
        labels["gen_ai.token.type"] for labels, _ in otlp.points(found["gen_ai.client.token.usage"])
    } == {
        "input",
        "output",
    }
    ((_, in_flight),) = otlp.points(found["plugway.exchanges.in_flight"])
    assert in_flight["int"] == 0
