"""The real Claude Code with two subagents: what its traces and the gateway's say together."""

from __future__ import annotations

import json

import otlp
import pytest
from needed import collector_messages  # noqa: F401  a fixture

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_router import Router
from plugway_telemetry import Telemetry
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def tracing(endpoint):
    """What makes Claude Code send `traceparent` (measured with 2.1.332; all are needed)."""
    return {
        "CLAUDE_CODE_PROPAGATE_TRACEPARENT": "1",
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "TRACEPARENT": PARENT,
    }


def two_subagents(request):
    """A model that starts two subagents with its first reply to the main conversation."""
    body = request.json
    if not body.get("stream"):
        return respond(200, anthropic_message("ok"))
    offered = {tool.get("name") for tool in body.get("tools", ())}
    asked = json.dumps(body["messages"])
    if "Agent" in offered and "start two" in asked and "tool_result" not in asked:
        parts = [
            {
                "description": f"part {n}",
                "prompt": f"do part {n}",
                "subagent_type": "general-purpose",
            }
            for n in (1, 2)
        ]
        return sse(anthropic_stream("I start them.", tool_calls=[("Agent", p) for p in parts]))
    return sse(anthropic_stream("Done."))


async def run(tmp_path, upstream, collector, **more):
    """The server spans of a session with two subagents."""
    stack = [
        build_plugin(Telemetry, "telemetry", endpoint=collector.url, ids="plain"),
        build_plugin(Router, "router", models={"*": ["up/m"]}),
        build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
    ]
    async with gateway(stack) as running:
        claude = Claude(tmp_path, running.url, running.token, "anything", **more)
        answer = await claude.run("-p", "start two subagents")
        assert "Done." in answer.out, answer
    return [span for span in collector.spans() if span["kind"] == 2]


async def test_the_subagents_of_a_session_are_told_apart(tmp_path):
    async with otlp.Collector() as collector, ScriptedUpstream(otherwise=two_subagents) as upstream:
        spans = await run(tmp_path, upstream, collector)
    found = [otlp.attributes(span) for span in spans]
    assert len({one["gen_ai.conversation.id"] for one in found}) == 1
    assert len({one["gen_ai.agent.id"] for one in found if "gen_ai.agent.id" in one}) == 2
    assert any("gen_ai.agent.id" not in one for one in found), "the main conversation"
    assert len({span["trace_id"] for span in spans}) == len(spans), "it sent no `traceparent`"


async def test_its_own_trace_continues_in_the_gateway(tmp_path, collector_messages):  # noqa: F811
    module, _ = collector_messages
    async with (
        otlp.Collector() as clients,
        otlp.Collector() as collector,
        ScriptedUpstream(otherwise=two_subagents) as upstream,
    ):
        spans = await run(tmp_path, upstream, collector, **tracing(clients.url))
        theirs = {
            span.span_id: span
            for request in clients.requests
            if request.path == "/v1/traces"
            for group in module.ExportTraceServiceRequest.FromString(request.body).resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        }
    assert {span["trace_id"].hex() for span in spans} == {PARENT[3:35]}
    parents = [theirs[span["parent_span_id"]] for span in spans]
    assert {parent.name for parent in parents} == {"claude_code.llm_request"}
    for span, parent in zip(spans, parents, strict=True):
        above = theirs[parent.parent_span_id].name
        of_agent = "gen_ai.agent.id" in otlp.attributes(span)
        assert above == ("claude_code.tool.execution" if of_agent else "claude_code.interaction")
