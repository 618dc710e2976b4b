"""The real Claude Code on the Responses API, through the stack as it is shipped."""

import json

import pytest
from openai_answers import answer_of, call, message, reasoning, streamed

from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond
from plugway_openai import OpenAI
from plugway_router import Router
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(120)]
THOUGHT = reasoning("Two files.", encrypted="gAAAA-what-was-thought")


def replied(request, *items):
    answer = answer_of(*items)
    return streamed(answer) if request.json.get("stream") else respond(200, answer)


def names_of(request):
    return [tool.get("name", tool["type"]) for tool in request.json.get("tools", ())]


def stack(server):
    return [
        *(plugin for plugin in shipped() if not isinstance(plugin, Router)),
        build_plugin(Router, "router", models={"*": ["cloud/gpt-5"]}),
        build_plugin(OpenAI, "cloud", base_url=server.url, api_key="k"),
    ]


async def test_claude_code_runs_parallel_calls_and_gives_the_reasoning_back(tmp_path):
    files = {name: str(tmp_path / "project" / name) for name in ("a.txt", "b.txt")}

    def says(request):
        if request.method == "GET" or not names_of(request):
            return replied(request, message("A title")) if request.body else respond(404)
        if request.json["input"][-1]["type"] == "function_call_output":
            return replied(request, message("Both are written."))
        calls = [
            call("Write", json.dumps({"file_path": path, "content": name}), f"call_{n}", f"fc_{n}")
            for n, (name, path) in enumerate(files.items())
        ]
        return replied(request, THOUGHT, *calls)

    async with ScriptedUpstream(otherwise=says) as server, gateway(stack(server)) as running:
        claude = Claude(tmp_path, running.url, running.token, "anything")
        answer = await claude.run("-p", "write", "--permission-mode", "acceptEdits")
    assert answer.code == 0, answer.out + answer.err
    assert "Both are written." in answer.out
    written = {path.name: path.read_text() for path in claude.project.glob("*.txt")}
    assert written == {"a.txt": "a.txt", "b.txt": "b.txt"}
    last = [r for r in server.requests if r.body and names_of(r)][-1].json["input"]
    assert [item for item in last if item["type"] == "reasoning"] == [THOUGHT]
    kinds = [item["type"] for item in last][-5:]
    assert kinds == ["reasoning", *["function_call"] * 2, *["function_call_output"] * 2]


async def test_web_search_of_claude_code_is_done_by_openai(tmp_path):
    action = {
        "type": "search",
        "query": "weather",
        "sources": [{"type": "url", "url": "https://weather.example.com/"}],
    }
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}

    def says(request):
        if request.method == "GET" or not names_of(request):
            return replied(request, message("A title")) if request.body else respond(404)
        if names_of(request) == ["web_search"]:
            return replied(request, searched, message("It rains, says example.com."))
        told = json.dumps(request.json["input"])
        if "It rains" in told:
            return replied(request, message("Take an umbrella."))
        if "WebSearch" in names_of(request):
            return replied(request, call("WebSearch", '{"query":"weather today"}', "call_2"))
        return replied(request, call("ToolSearch", '{"query":"select:WebSearch"}'))

    async with ScriptedUpstream(otherwise=says) as server, gateway(stack(server)) as running:
        claude = Claude(tmp_path, running.url, running.token, "anything")
        answer = await claude.run("-p", "weather?", "--allowedTools", "WebSearch")
    assert "Take an umbrella." in answer.out, answer.out + answer.err
    last = [r for r in server.requests if r.body and names_of(r)][-1].json["input"]
    told = json.dumps(last[-1]["output"])
    assert "It rains, says example.com." in told
    assert "https://weather.example.com/" in told
