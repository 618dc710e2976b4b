"""A translated model that calls a tool as the client's prompts name it, not as it was offered."""

from __future__ import annotations

import json

import pytest

from plugway import Original
from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi
from plugway_tool_repair import ToolRepair
from plugway_tool_repair._tools import Toolbox, client_names

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
READ = {"type": "function", "name": "files.read", "parameters": SCHEMA}
PATCH = {"type": "custom", "name": "patch.it"}
SPACE = {
    "type": "namespace",
    "name": "git",
    "description": "d",
    "tools": [{"type": "function", "name": "show", "parameters": SCHEMA}],
}
MODELS = respond(200, {"data": [{"type": "model", "id": "m", "display_name": "m"}]})
CASES = {
    "another character": ("files.read", {"path": "/a"}, ("function_call", None, "files.read")),
    "custom": ("patch.it", {"input": "+a"}, ("custom_tool_call", None, "patch.it")),
    "namespace": ("show", {"path": "/a"}, ("function_call", "git", "show")),
}


def message(*content, reason="tool_use"):
    usage = {"input_tokens": 1, "output_tokens": 1}
    ends = {"stop_reason": reason, "stop_sequence": None, "usage": usage}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return {**head, "content": list(content), **ends}


@pytest.mark.parametrize("as_text", [False, True], ids=["call", "text"])
@pytest.mark.parametrize(("name", "given", "wanted"), CASES.values(), ids=CASES)
async def test_a_call_by_the_clients_own_name_reaches_its_tool(name, given, wanted, as_text):
    if as_text:
        call = json.dumps({"name": name, "arguments": given})
        text = f"<tool_call>\n{call}\n</tool_call>"
        answer = message({"type": "text", "text": text}, reason="end_turn")
    else:
        answer = message({"type": "tool_use", "id": "toolu_1", "name": name, "input": given})
    async with ScriptedUpstream(MODELS, respond(200, answer)) as upstream:
        plugins = [
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(ToolRepair, "tool-repair"),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(plugins) as running:
            asked = {"model": "anthropic/up/m", "input": "go", "tools": [READ, PATCH, SPACE]}
            got = await running.client.post("/v1/responses", json=asked)
    assert got.status_code == 200, got.text
    (call,) = (item for item in got.json()["output"] if item["type"].endswith("_call"))
    assert (call["type"], call.get("namespace"), call["name"]) == wanted


def test_a_name_that_two_tools_have_means_neither():
    other = {**SPACE, "name": "svn"}
    body = json.dumps({"tools": [SPACE, other, READ]}).encode()
    original = Original("openai-responses", "/v1/responses", body)
    offered = [{"name": name, "input_schema": SCHEMA} for name in ("git__show", "svn__show")]
    toolbox = Toolbox({"tools": offered}, client_names(original))
    assert toolbox.named("show") is None
    assert toolbox.named("git__show") == "git__show"
    problem = toolbox.judge("show", '{"path": "/a"}').problems[0]
    assert problem.endswith("there are: git__show, svn__show")
