"""The real Claude Code with a model that writes its calls as text (pain 1 of FEATURES section 7)."""

import json

import pytest

from plugway.testing import ScriptedUpstream, anthropic_stream, build_plugin, gateway, sse
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_router import Router
from plugway_tool_repair import ToolRepair
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_pain_1_a_write_call_in_prose_creates_the_file(tmp_path):
    path = tmp_path / "project" / "hello.txt"
    call = json.dumps({"name": "write", "arguments": {"file_path": str(path), "content": "hi"}})
    text = f"I write it.\n<tool_call>\n{call}\n</tool_call>"

    def answer(request):
        body = request.json
        answered = "tool_result" in json.dumps(body["messages"][-1])
        asked = any(tool["name"] == "Write" for tool in body.get("tools") or [])
        return sse(anthropic_stream(text if asked and not answered else "It is written."))

    async with ScriptedUpstream(otherwise=answer) as upstream:
        stack = [
            build_plugin(ToolRepair, "tool-repair"),
            build_plugin(Router, "router", models={"*": ["up/some-model"]}),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anything")
            said = await claude.run("-p", "write hello.txt", "--permission-mode", "acceptEdits")
    assert path.read_text() == "hi"
    assert "It is written." in said.out
