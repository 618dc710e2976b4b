"""Clients and servers of another API, whose bytes would be relayed as they are."""

import json

import pytest
from recording import recorder, replay, turns_of

from plugway import Exchange, MessagesRequest
from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_endpoints import REPLAY_HEADER
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_server
from plugway_tools import ToolCall, ToolSpec

pytestmark = pytest.mark.anyio
FUNCTION = {
    "name": "read",
    "description": "Reads.",
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}
ASKED = {
    "model": "up/m",
    "messages": [{"role": "user", "content": "read a"}],
    "tools": [{"type": "function", "function": FUNCTION}],
}


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_conversation_that_is_relayed_otherwise_is_recorded_with_its_calls(
    streamed, tmp_path
):
    server = chat_server("", tool_calls=[("call_1", "read", json.dumps({"path": "a"}))])
    headers = {"plugway-session-id": "chat-12345", "plugway-record": "on"}
    async with ScriptedUpstream(otherwise=server) as upstream:
        stack = [
            recorder(),
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(OpenAICompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            asked = {**ASKED, "stream": streamed}
            answer = await running.client.post("/v1/chat/completions", json=asked, headers=headers)
            assert answer.status_code == 200, answer.text
            assert "by=recorder" in answer.headers["plugway-receipt"]
            (turn,) = await turns_of(running, "chat-12345")
            assert turn["calls"] == ["read"]
            assert turn["stop_reason"] == "tool_use"
            done, _ = await replay(running, tmp_path, "chat-12345", "--on", "up/m", "--yes")
    assert "1 of 1 turn would have worked" in done.stdout
    first, second = (r.json for r in upstream.requests if r.method == "POST")
    assert first["messages"] == second["messages"]
    assert first["tools"] == second["tools"]


async def test_a_replay_runs_no_tool_of_the_gateway():
    plugin = recorder()
    spec = ToolSpec("files_read", "Reads.", {"type": "object"}, "read")
    for headers, verdict in (((), "undecided"), (((REPLAY_HEADER, "some"),), "denied")):
        request = MessagesRequest(b'{"model": "m"}', headers)
        exchange = Exchange(request)
        await plugin.transform_request(request, exchange)
        assert plugin.judge_call(ToolCall("1", spec.name, {}, exchange), spec).kind == verdict
