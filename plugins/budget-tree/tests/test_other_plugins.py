"""Together with plugins that send several requests, read other lines, or speak other APIs."""

from __future__ import annotations

import orjson
import pytest
from spending import Spender, Talk, budgeted, message_of

from plugway.config.config import parse_config
from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway.types.errors import ConfigError
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_budget_tree import BudgetTree
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_stream
from plugway_prices import Prices
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_switch import Switch
from plugway_toolbelt import Toolbelt
from plugway_tools import ToolResult, ToolSpec

pytestmark = pytest.mark.anyio


# ── switch ───────────────────────────────────────────────────────────────────────────────────


async def test_switch_leaves_lines_about_budgets_to_this_plugin():
    async with budgeted(before=[build_plugin(Switch, "switch")]) as talk:
        assert "Its limits: 7 calls" in message_of(await talk.send("@plugway budget 7 calls"))
        assert message_of(await talk.send("@plugway budget 1 calls\nGo on.")) == "Hello."
        assert "`@plugway use" in message_of(await talk.send("@plugway what"))


async def test_without_this_plugin_switch_answers_such_a_line_with_its_help():
    """Otherwise a user would think that a limit was set."""
    async with gateway([build_plugin(Switch, "switch")]) as running:
        message = await running.ask("@plugway budget 7 calls", model="m")
    assert "@plugway use" in message["content"][0]["text"]


async def test_a_line_in_a_request_that_is_replayed_sets_no_budget():
    async with budgeted() as talk:
        for times in (1, 2):
            response = await talk.send(
                "@plugway budget 1 calls\nGo on.", headers={"plugway-replay": "s-0"}
            )
            assert message_of(response) == "Hello.", times
        assert talk.tree.asked.listed == ""


# ── several requests for one ─────────────────────────────────────────────────────────────────


class WithTool(Toolbelt):
    """The toolbelt, which here holds a tool itself."""

    async def tools(self):
        schema = {"type": "object", "properties": {}}
        return [ToolSpec("clock_now", "Tell the time", schema, "read", outside=False)]

    async def run_tool(self, call):
        return ToolResult.of("noon")


async def test_each_request_of_a_loop_of_tools_is_counted():
    grants = [{"callers": ["*"], "tools": ["*"], "effects": ["read"]}]
    belt = build_plugin(WithTool, "toolbelt", grants=grants)
    calls = iter([[("clock_now", {})], [("clock_now", {})], []])

    def model(request):
        message = anthropic_message(
            "", tool_calls=next(calls), usage={"input_tokens": 50, "output_tokens": 7}, model="m"
        )
        return respond(200, message)

    async with budgeted(model, before=[belt], default={"dollars": 1}) as talk:
        response = await talk.send(headers={"plugway-toolbelt": "on"})
        assert response.status_code == 200
        await talk.settled()
        assert talk.tree.calls == 3
        assert talk.tree.tokens == 3 * 57
        assert talk.spent() == pytest.approx(3 * (50 * 3 + 7 * 15) / 1e6)


async def test_a_loop_of_tools_ends_at_the_limit():
    grants = [{"callers": ["*"], "tools": ["*"], "effects": ["read"]}]
    belt = build_plugin(WithTool, "toolbelt", grants=grants)
    model = Spender(share=0.1, says="", calls=[("clock_now", {})])
    async with budgeted(model, before=[belt], default={"calls": 2}) as talk:
        await talk.send(headers={"plugway-toolbelt": "on"})
        assert len(talk.upstream.requests) == 2


async def test_the_order_of_the_configuration_is_checked():
    document = {"plugins": [{"use": "budget-tree"}, {"use": "resilience"}, {"use": "echo"}]}
    async with gateway([]) as running:
        with pytest.raises(ConfigError, match="resilience"):
            await running.app.reload(parse_config(orjson.dumps(document).decode(), "test"))


async def test_a_fallback_is_reserved_at_its_own_price():
    spender = Spender()
    async with (
        ScriptedUpstream(otherwise=lambda _: respond(500, {"error": {"message": "x"}})) as bad,
        ScriptedUpstream(otherwise=spender) as good,
    ):
        plugin = build_plugin(BudgetTree, "budget-tree", default={"dollars": 1})
        models = {"cheap/*": {"input": 0.1, "output": 0.2}, "up/*": {"input": 3, "output": 15}}
        stack = [
            build_plugin(Resilience, "resilience", max_attempts=1),
            plugin,
            build_plugin(Router, "router", models={"*": ["cheap/m", "up/m"]}),
            build_plugin(Prices, "prices", models=models),
            build_plugin(AnthropicCompatible, "cheap", base_url=bad.url, zone="vendor"),
            build_plugin(AnthropicCompatible, "up", base_url=good.url, zone="vendor"),
        ]
        async with gateway(stack) as running:
            talk = Talk(running, spender, plugin, good)
            assert (await talk.send()).status_code == 200
            await talk.settled()
            assert talk.spent() == pytest.approx(spender.dollars)
            assert talk.tree.calls == 1


# ── other APIs ───────────────────────────────────────────────────────────────────────────────


def chat_model(request):
    if request.method == "GET":
        return respond(404, {"error": {"message": "no list"}})
    usage = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi."},
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
    }
    return respond(200, body)


@pytest.mark.parametrize(
    "fields", [{}, {"max_completion_tokens": 900}, {"max_completion_tokens": 900, "n": 3}]
)
async def test_clients_of_another_api_cannot_leave_out_the_limit(fields):
    async with ScriptedUpstream(otherwise=chat_model) as upstream:
        up = build_plugin(
            OpenAICompatible,
            "up",
            base_url=f"{upstream.url}/v1",
            api="chat",
            learn=False,
            zone="vendor",
        )
        before = [build_plugin(OpenAIApi, "openai-api")]
        async with budgeted(before=before, backend=up, default={"dollars": "0.01"}) as talk:
            body = {"model": "up/gpt", "messages": [{"role": "user", "content": "hi"}], **fields}
            headers = {"x-claude-code-session-id": "s-1"}
            response = await talk.running.client.post(
                "/v1/chat/completions", json=body, headers=headers
            )
            assert response.status_code == 200, response.text
            (sent,) = [request.json for request in upstream.requests if request.method == "POST"]
            most = sent.get("max_completion_tokens") or sent.get("max_tokens")
            assert most * sent.get("n", 1) * 15 <= 10_000
            await talk.settled()
            assert talk.tree.tokens == 50


async def test_a_relayed_stream_of_another_api_is_settled_by_its_own_usage():
    script = sse(chat_stream("Hi.", usage={"prompt_tokens": 20, "completion_tokens": 30}))
    async with ScriptedUpstream(otherwise=lambda _: script) as upstream:
        up = build_plugin(
            OpenAICompatible,
            "up",
            base_url=f"{upstream.url}/v1",
            api="chat",
            learn=False,
            zone="vendor",
        )
        before = [build_plugin(OpenAIApi, "openai-api")]
        async with budgeted(before=before, backend=up, default={"dollars": 1}) as talk:
            body = {
                "model": "up/gpt",
                "messages": [{"role": "user", "content": "hi"}],
                "max_completion_tokens": 100,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            headers = {"x-claude-code-session-id": "s-1"}
            response = await talk.running.client.post(
                "/v1/chat/completions", json=body, headers=headers
            )
            assert response.status_code == 200
            await talk.settled()
            assert talk.tree.tokens == 50
