"""The real Claude Code: its ordinary turns, with a subagent among them, are no misses."""

import json

import pytest
from simulated_cache import Clock, MarkedCache
from test_causes import anthropic, explained

from plugway.testing import ScriptedUpstream, anthropic_stream, build_plugin, gateway, sse
from plugway_cache_watch import CacheWatch
from plugway_dashboard import Dashboard
from plugway_field_policy import FieldPolicy
from plugway_router import Router
from plugway_thinking import Thinking
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow]

TASK = {"description": "look", "prompt": "SUB: look around", "subagent_type": "general-purpose"}


class Model:
    """Starts a subagent that calls a tool, then answers; the usage is that of the cache."""

    def __init__(self):
        self.cache = MarkedCache(Clock())
        self.answers = 0

    def __call__(self, request):
        body = request.json
        usage = self.cache.usage(body)
        self.cache.clock.now += 1
        texts = json.dumps(body["messages"])
        tools = {tool["name"] for tool in body.get("tools") or []}
        agent = next((name for name in ("Agent", "Task") if name in tools), None)
        calls = []
        if "tool_result" in texts:
            pass
        elif "SUB: look around" in json.dumps(body["messages"][0]):
            calls = [("Bash", {"command": "ls", "description": "List files"})]
        elif agent:
            calls = [(agent, TASK)]
        said = "" if calls else "Done."
        events = anthropic_stream(said, tool_calls=calls, usage=usage, model=body["model"])
        self.answers += 1  # the client merges messages of the same id
        events[0][1]["message"]["id"] = f"msg_{self.answers:08}"
        return sse(events)


async def test_two_turns_with_a_subagent_are_no_misses(tmp_path):
    watch = build_plugin(CacheWatch, "cache-watch")
    model = Model()
    async with ScriptedUpstream(otherwise=model) as upstream:
        stack = [
            watch,
            build_plugin(Dashboard, "dashboard"),
            build_plugin(Thinking, "thinking"),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Router, "router", models={"*": ["up/claude-opus-4-8"]}),
            anthropic(upstream.url),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "claude-opus-4-8")
            first = await claude.run("-p", "first question", "--allowedTools", "Task,Agent,Bash")
            second = await claude.run("-c", "-p", "second question")
            document = (await running.client.get("/dashboard/exchanges")).json()
            found = [await explained(watch, e["request_id"]) for e in document["exchanges"]]
    assert (first.code, second.code) == (0, 0), (first, second)
    agents = {item["agent_id"] for item in document["exchanges"]}
    assert len(agents) == 2, "no subagent ran"
    found = [item for item in found if item]
    assert [item["line"] for item in found if item["miss"]] == []
    assert sum(item["cause"] == "hit" for item in found) >= 3
