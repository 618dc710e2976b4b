"""The real Claude Code with three subagents: at the limit all of them stop, and the user sees why."""

from __future__ import annotations

import json
import time

import pytest
from spending import INPUT, OUTPUT

from plugway.testing import (
    StrictUpstream,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_budget_tree import BudgetTree
from plugway_prices import Prices
from plugway_resilience import Resilience
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(120)]


class Model:
    """The main agent starts three subagents, each of which calls a tool `rounds` times. A strict
    upstream (`plugway.testing.StrictUpstream`) in the words of Anthropic's Messages API."""

    def __init__(self, rounds):
        self.rounds = rounds
        self.micro = 0
        self.seen = []
        """(agent or None, number of tool results) of each request that was answered."""

    def __call__(self, request):
        if request.method == "GET" or request.path.endswith("count_tokens"):
            return respond(
                404, {"type": "error", "error": {"type": "not_found_error", "message": ""}}
            )
        body, agent = request.json, request.header("x-claude-code-agent-id")
        results = json.dumps(body["messages"]).count('"tool_result"')
        self.seen.append((agent, results))
        tools = {tool["name"] for tool in body.get("tools") or []}
        calls, said = [], "Done."
        if agent is not None and results < self.rounds:
            calls, said = [("Bash", {"command": "ls", "description": "List files"})], ""
        elif agent is None and not results and "Agent" in tools:
            calls = [("Agent", task(number)) for number in range(3)]
        prompt, reply = len(request.body) // 4, 200
        self.micro += prompt * INPUT + reply * OUTPUT
        usage = {"input_tokens": prompt, "output_tokens": reply}
        events = anthropic_stream(said, tool_calls=calls, usage=usage, model=body["model"])
        events[0][1]["message"]["id"] = f"msg_{len(self.seen):08}"  # the client merges equal ids
        for number, (_, data) in enumerate(events):
            if data.get("content_block", {}).get("type") == "tool_use":
                data["content_block"]["id"] = f"toolu_{len(self.seen):04}{number:02}"
        return sse(events)


def task(number):
    prompt = f"SUB {number}: look around"
    return {"description": f"look {number}", "prompt": prompt, "subagent_type": "general-purpose"}


async def run(tmp_path, model, **options):
    """What `claude -p` says, the plugin, and the statuses that the gateway refused with."""
    plugin = build_plugin(BudgetTree, "budget-tree", **options)
    models = {"up/*": {"input": INPUT, "output": OUTPUT}}
    async with StrictUpstream("anthropic", otherwise=model) as upstream:
        up = {"base_url": upstream.url, "api_key": "sk-up", "zone": "vendor"}
        stack = [
            build_plugin(Resilience, "resilience"),
            plugin,
            build_plugin(Prices, "prices", models=models),
            build_plugin(AnthropicCompatible, "up", **up),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anthropic/up/claude-opus-4-8")
            began = time.monotonic()
            answer = await claude.run("-p", "do it", "--allowedTools", "Agent,Bash", seconds=45)
            assert time.monotonic() - began < 60
    return answer, plugin


async def test_at_the_limit_the_subagents_and_the_main_agent_stop(tmp_path):
    model = Model(rounds=50)
    answer, plugin = await run(tmp_path, model, default={"dollars": "1.50"}, wait_seconds=5)
    (tree,) = plugin.trees
    assert model.micro / 1e6 <= 1.5
    assert tree.nano / 1e9 == pytest.approx(model.micro / 1e6)
    assert len({agent for agent, _ in model.seen if agent}) == 3, "three subagents worked"
    assert answer.code == 1, answer
    assert "Budget reached: this conversation with its subagents has spent $" in answer.out
    assert "`@plugway budget 3 dollars`" in answer.out
    assert tree.agents == {}
    assert tree.running == 0


async def test_below_the_limit_nothing_is_refused(tmp_path):
    model = Model(rounds=2)
    answer, plugin = await run(tmp_path, model, default={"dollars": 50, "agents": 3})
    (tree,) = plugin.trees
    assert answer.code == 0, answer
    assert "Done." in answer.out
    assert tree.calls == len(model.seen)


async def test_a_subagent_too_many_fails_and_the_others_finish(tmp_path):
    model = Model(rounds=2)
    answer, plugin = await run(tmp_path, model, default={"agents": 2})
    (tree,) = plugin.trees
    assert answer.code == 0, answer
    agents = {agent for agent, _ in model.seen if agent}
    assert len(agents) == 2
    assert {(agent, 2) for agent in agents} <= set(model.seen), "both came to their end"
    assert tree.agents == {}
