"""The real Claude Code on a server that answers 422 to everything that it does not know."""

import pytest

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
from plugway_field_policy import FieldPolicy
from plugway_router import Router
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real]

BODY = {
    *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream"),
    *("temperature", "top_p", "top_k", "stop_sequences"),
}
TOOL = {"name", "description", "input_schema"}
BLOCKS = {
    "text": {"type", "text"},
    "tool_use": {"type", "id", "name", "input"},
    "tool_result": {"type", "tool_use_id", "content", "is_error"},
}


def problems(body):
    """What a strict server would refuse."""
    found = [f"field {name}" for name in body.keys() - BODY]
    found += [f"tool {name}" for tool in body.get("tools", []) for name in tool.keys() - TOOL]
    found += _blocks(body.get("system", []))
    last = ""
    for message in body["messages"]:
        if message["role"] not in ("user", "assistant") or message["role"] == last:
            found.append(f"role {message['role']} after {last}")
        last = message["role"]
        found += [f"message {name}" for name in message.keys() - {"role", "content"}]
        found += _blocks(message["content"])
    return found


def _blocks(content):
    if isinstance(content, str):
        return []
    found = []
    for block in content:
        known = BLOCKS.get(block["type"])
        if known is None:
            found.append(f"block {block['type']}")
            continue
        found += [f"{block['type']}.{name}" for name in block.keys() - known]
        if block["type"] == "tool_result":
            found += _blocks(block["content"])
    return found


@pytest.mark.core
async def test_pain_23_a_server_that_refuses_unknown_fields_is_satisfied_by_a_whole_tool_round_trip(
    tmp_path,
):
    refused = []

    def strict(request):
        body = request.json
        found = problems(body)
        if request.header("anthropic-beta"):
            found.append(f"beta {request.header('anthropic-beta')}")
        if found:
            refused.append(found)
            detail = {"detail": [{"loc": [name], "msg": "Extra inputs"} for name in found]}
            return respond(422, detail)
        results = "tool_result" in str(body["messages"])
        call = ("Write", {"file_path": str(tmp_path / "project/a.txt"), "content": "written"})
        calls = [call] if body.get("tools") and not results else []
        text = "All done." if results else "On it."
        if body.get("stream"):
            return sse(anthropic_stream(text, tool_calls=calls))
        return respond(200, anthropic_message(text, tool_calls=calls))

    async with ScriptedUpstream(otherwise=strict) as upstream:
        stack = [
            build_plugin(FieldPolicy, "field-policy", backends={"up": {"preset": "strict"}}),
            build_plugin(Router, "router", models={"*": ["up/some-model"]}),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anything")
            answer = await claude.run("-p", "write it", "--permission-mode", "acceptEdits")
    assert not refused
    assert "All done." in answer.out, answer
    assert (claude.project / "a.txt").read_text() == "written"
    assert len(upstream.requests) >= 2
    assert "x-anthropic-billing-header" not in upstream.requests[0].body.decode()
