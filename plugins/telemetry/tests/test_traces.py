"""Exchanges become traces: what they contain, how they join the client's, what they never hold."""

from __future__ import annotations

from itertools import pairwise

import anyio
import otlp
import pytest

from plugway.testing import (
    Cut,
    FeatureContract,
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
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_echo import Echo
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_telemetry import Telemetry

pytestmark = pytest.mark.anyio
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
JSON = {"content-type": "application/json"}


class TestOffByDefault(FeatureContract):
    plugin = Telemetry


class TestContract(FeatureContract):
    plugin = Telemetry
    options = {"endpoint": "http://127.0.0.1:9", "span_seconds": 0.001}


async def traced(collector, *plugins, requests, **options):
    """Send the requests through a gateway with telemetry; returns their spans."""
    telemetry = build_plugin(Telemetry, "telemetry", endpoint=collector.url, **options)
    async with gateway([telemetry, *plugins]) as running:
        await requests(running)
    return collector.spans()


def compatible(upstream, name="up", **options):
    return build_plugin(AnthropicCompatible, name, base_url=upstream.url, **options)


async def test_a_whole_reply_is_one_server_span_with_one_client_span():
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 7,
    }
    answer = respond(200, anthropic_message("Hi.", model="m-1", usage=usage))

    async def ask(running):
        headers = JSON | {"x-claude-code-session-id": "s-1", "x-claude-code-agent-id": "a-1"}
        body = request_body(model="up/m-1")
        reply = await running.client.post("/v1/messages", json=body, headers=headers)
        assert reply.status_code == 200

    async with otlp.Collector() as collector, ScriptedUpstream(answer) as upstream:
        spans = await traced(collector, compatible(upstream), requests=ask, ids="plain")
    server, (client,) = otlp.server_and_clients(spans)
    assert (server["name"], client["name"]) == ("chat m-1", "chat m-1")
    assert "parent_span_id" not in server
    found = otlp.attributes(server)
    assert found.pop("plugway.request.id").startswith("req_")
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "local",
        "gen_ai.request.model": "up/m-1",
        "gen_ai.response.model": "m-1",
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.usage.input_tokens": 125,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.cache_creation.input_tokens": 20,
        "gen_ai.conversation.id": "s-1",
        "gen_ai.agent.id": "a-1",
        "http.response.status_code": 200,
        "plugway.backend": "up",
        "plugway.caller": "owner",
        "plugway.outcome": "completed",
    }
    assert otlp.attributes(client) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "local",
        "gen_ai.request.model": "m-1",
        "plugway.backend": "up",
        "plugway.zone": "local",
        "plugway.attempt.number": 1,
        "plugway.attempt.result": "answered",
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
    }
    assert server["start"] <= client["start"] <= client["end"] <= server["end"]
    assert "status" not in server
    assert "status" not in client


async def test_a_stream_tells_when_its_first_content_came():
    async def ask(running):
        await running.stream("hello", model="echo/m")

    async with otlp.Collector() as collector:
        spans = await traced(collector, build_plugin(Echo, "echo"), requests=ask)
    server, (client,) = otlp.server_and_clients(spans)
    assert otlp.attributes(server)["gen_ai.request.stream"] is True
    assert otlp.attributes(server)["gen_ai.response.time_to_first_chunk"] > 0
    for span in (server, client):
        (event,) = span["events"]
        assert event["name"] == "plugway.first_content"
        assert span["start"] <= event["time"] <= span["end"]


async def test_retries_and_fallbacks_are_spans_in_order_that_do_not_overlap():
    busy = anthropic_error(529, "overloaded_error", "canary words of an upstream")
    options = {"repeat_min_seconds": 0.001, "repeat_max_seconds": 0.002}

    async def ask(running):
        assert (await running.post(request_body(model="m"))).status_code == 200

    async with (
        otlp.Collector() as collector,
        ScriptedUpstream(busy) as first,
        ScriptedUpstream(busy) as second,
    ):
        spans = await traced(
            collector,
            build_plugin(Router, "router", models={"m": ["first/m-1", "second/m-2"]}),
            build_plugin(Resilience, "resilience", **options),
            compatible(first, "first"),
            compatible(second, "second"),
            requests=ask,
        )
    server, clients = otlp.server_and_clients(spans)
    sent = [otlp.attributes(client) for client in clients]
    assert [one["plugway.backend"] for one in sent] == ["first", "second", "second"]
    assert [one["plugway.attempt.number"] for one in sent] == [1, 2, 3]
    assert [one["plugway.attempt.result"] for one in sent] == ["529", "529", "answered"]
    assert [one.get("error.type") for one in sent] == ["529", "529", None]
    assert [one.get("http.response.status_code") for one in sent] == [529, 529, None]
    assert [one.get("http.request.resend_count") for one in sent] == [None, None, 1]
    assert otlp.attributes(server)["plugway.backend"] == "second"
    for before, after in pairwise(clients):
        assert before["end"] <= after["start"]
    assert "canary" not in repr(spans)


async def test_a_failed_exchange_is_an_error_and_names_its_kind():
    async def ask(running):
        reply = await running.post(request_body(model="up/m"))
        assert reply.status_code == 401

    refusal = anthropic_error(401, "authentication_error", "no")
    async with otlp.Collector() as collector, ScriptedUpstream(refusal) as upstream:
        spans = await traced(collector, compatible(upstream), requests=ask)
    server, (client,) = otlp.server_and_clients(spans)
    assert otlp.attributes(server)["plugway.outcome"] == "rejected"
    assert otlp.attributes(server)["error.type"] == "401"
    assert "status" not in server, "a status below 500 is the client's error"
    assert client["status"] == {"code": 2}


async def test_a_stream_that_is_cut_marks_the_exchange_and_its_attempt():
    async def ask(running):
        with pytest.raises(Exception, match=r"."):
            await running.stream("hello", model="up/m")

    broken = sse(anthropic_stream(["a", "b", "c"])[:4], end=Cut())
    async with otlp.Collector() as collector, ScriptedUpstream(broken) as upstream:
        spans = await traced(collector, compatible(upstream), requests=ask)
    server, (client,) = otlp.server_and_clients(spans)
    for span in (server, client):
        assert otlp.attributes(span)["error.type"] == "stream_interrupted"
        assert span["status"] == {"code": 2}


async def test_a_client_that_disconnects_is_no_error():
    held = Hold()
    stream = sse(anthropic_stream(["a", "b", "c"])[:4], end=held)
    async with otlp.Collector() as collector, ScriptedUpstream(stream) as upstream:

        async def ask(running):
            body = request_body(model="up/m", stream=True)
            async with running.client.stream("POST", "/v1/messages", json=body) as reply:
                async for _ in reply.aiter_raw():
                    break
            with anyio.fail_after(5):
                await upstream.requests[0].left.wait()

        spans = await traced(collector, compatible(upstream), requests=ask)
    server, (client,) = otlp.server_and_clients(spans)
    assert otlp.attributes(server)["plugway.outcome"] == "disconnected"
    assert "error.type" not in otlp.attributes(server)
    assert "status" not in server
    assert "status" not in client


async def test_requests_without_inference_are_no_traces():
    async def ask(running):
        await running.post(request_body(model="echo/m"), "/v1/messages/count_tokens")
        await running.post(request_body(model="echo/m"), "/v1/messages/explain")

    async with otlp.Collector() as collector:
        spans = await traced(collector, build_plugin(Echo, "echo"), requests=ask)
    assert spans == []


# ── the client's trace ───────────────────────────────────────────────────────────────────────────


async def with_headers(headers, **options):
    """The server span of a request with these headers, or None."""

    async def ask(running):
        lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        lines.append((b"content-type", b"application/json"))
        reply = await running.client.post(
            "/v1/messages", json=request_body(model="echo/m"), headers=lines
        )
        assert reply.status_code == 200

    async with otlp.Collector() as collector:
        spans = await traced(collector, build_plugin(Echo, "echo"), requests=ask, **options)
    return otlp.server_and_clients(spans)[0] if spans else None


async def test_the_clients_trace_is_continued_with_its_state():
    span = await with_headers([("traceparent", PARENT), ("tracestate", "a=1,b@c=2")])
    assert span["trace_id"].hex() == "0af7651916cd43dd8448eb211c80319c"
    assert span["parent_span_id"].hex() == "b7ad6b7169203331"
    assert span["trace_state"] == "a=1,b@c=2"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "00",
        "x" * 5000,
        PARENT.upper(),
        PARENT.replace("00-", "ff-", 1),
        PARENT + "-more",
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        PARENT[:-3],
        "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        "00-" + "٣" * 3,
        "'; DROP TABLE spans; --",
    ],
)
async def test_an_invalid_traceparent_starts_a_new_trace(line):
    if not line.isascii():
        line = line.encode().decode("latin-1")
    span = await with_headers([("traceparent", line)])
    assert "parent_span_id" not in span
    assert len(span["trace_id"]) == 16


async def test_two_traceparents_start_a_new_trace():
    other = PARENT.replace("b7", "b8")
    span = await with_headers([("traceparent", PARENT), ("traceparent", other)])
    assert "parent_span_id" not in span


async def test_a_later_version_of_the_header_is_understood():
    span = await with_headers([("traceparent", "01" + PARENT[2:] + "-what-will-be")])
    assert span["parent_span_id"].hex() == "b7ad6b7169203331"


@pytest.mark.parametrize(
    "state", ["", "=", "a", "a=1=2", "A=1", "a=" + "x" * 600, ",".join(["a=1"] * 200), "a=é"]
)
async def test_an_invalid_tracestate_is_dropped_and_the_trace_stays(state):
    state = state.encode().decode("latin-1")
    span = await with_headers([("traceparent", PARENT), ("tracestate", state)])
    assert span["parent_span_id"].hex() == "b7ad6b7169203331"
    assert "trace_state" not in span


async def test_the_client_decides_about_its_own_traces():
    assert await with_headers([("traceparent", PARENT[:-2] + "00")]) is None
    assert await with_headers([("traceparent", PARENT)], sample=0) is not None
    assert await with_headers([], sample=0) is None


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("ids", "shown"), [("hashed", 16), ("plain", 9), ("off", 0)])
async def test_ids_are_hashed_plain_or_left_out(ids, shown):
    headers = [("x-client-session-id", "session-1"), ("x-client-agent-id", "agent-one")]
    found = otlp.attributes(await with_headers(headers, ids=ids))
    assert len(found.get("gen_ai.conversation.id", "")) == shown
    assert len(found.get("gen_ai.agent.id", "")) == shown
    assert ("session-1" in found.values()) is (ids == "plain")
