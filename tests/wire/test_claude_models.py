"""What goes to Claude models: names without a version, limits of the output, marks for caching.

Sources: platform.claude.com/docs, "Extended thinking", "Prompt caching", "Context editing".
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
import pytest

from plugway import Exchange, MessagesRequest, NoOptions, Outcome, Plugin, hookimpl
from plugway.testing import ScriptedUpstream, StrictUpstream, build_plugin, gateway, respond
from plugway_anthropic import Anthropic
from plugway_anthropic_wire._claude import Claude, fitted
from plugway_router import Router
from tests.wire.adapted import PLUGINS, told
from tests.wire.ways import asked

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
REPLY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hi."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


@pytest.mark.parametrize(
    "model",
    [
        *("claude-opus-latest", "claude-sonnet", "claude-haiku-latest", "vendor.claude-sonnet"),
        *("claude", "us.anthropic.claude-opus", "my-claude-fable"),
    ],
)
async def test_a_name_without_version_gets_no_sampling_beside_thinking(model):
    body = {**asked("chat"), "model": model, "reasoning_effort": "high"}
    found = await told(
        PLUGINS["anthropic"], [{**body, "temperature": 0.5, "top_p": 0.5}], dialect="chat"
    )
    sent = found.sent[0]
    assert not {"temperature", "top_p", "top_k"} & sent.keys()
    assert "thinking" in sent or "output_config" in sent


@pytest.mark.parametrize("model", ["claude-2.1", "claude-instant-1.2", "claude-3-haiku-20240307"])
async def test_models_from_before_thinking_keep_their_sampling(model):
    body = {**asked("chat"), "model": model, "reasoning_effort": "high", "temperature": 0.5}
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    assert found.sent[0]["temperature"] == 0.5
    assert "thinking" not in found.sent[0]


CLEAR = {"type": "clear_thinking_20251015", "keep": "all"}
TOOL_USES = {"type": "clear_tool_uses_20250919"}


@pytest.mark.parametrize(
    ("model", "thinking", "edits", "left"),
    [
        ("claude-3-5-haiku-20241022", {"type": "adaptive"}, [CLEAR], None),
        ("claude-3-5-haiku-20241022", {"type": "adaptive"}, [CLEAR, TOOL_USES], [TOOL_USES]),
        ("claude-3-opus-20240229", {"type": "enabled", "budget_tokens": 2000}, [CLEAR], None),
        ("claude-haiku-4-5", {"type": "adaptive"}, [CLEAR], None),
        ("claude-sonnet-4-6", {"type": "adaptive"}, [CLEAR], [CLEAR]),
        ("claude-sonnet-4-6", {"type": "disabled"}, [CLEAR, TOOL_USES], [TOOL_USES]),
    ],
)
def test_edits_of_thinking_go_where_there_is_none(model, thinking, edits, left):
    body = {
        "model": model,
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "hi"}],
        "thinking": thinking,
        "context_management": {"edits": edits},
    }
    claude = Claude.named(model)
    assert claude is not None
    sent = fitted(MessagesRequest(orjson.dumps(body)), claude).body
    assert sent.get("context_management", {}).get("edits") == left


def marks(value: Any) -> int:
    """How many marks stand in a body."""
    if isinstance(value, list):
        return sum(map(marks, value))
    if not isinstance(value, dict):
        return 0
    own = value.get("cache_control") == {"type": "ephemeral"}
    return own + sum(map(marks, value.values()))


SCHEMAS = [
    {"type": "object", "properties": {"cache_control": {"type": "string"}}},
    {"type": "object", "properties": {"a": {"type": "string", "enum": ["cache_control"]}}},
    {"type": "object", "properties": {"a": {"properties": {"cache_control": {}}}}},
    {"type": "object", "properties": {"a": {}}, "required": ["cache_control"]},
    {"type": "object", "properties": {"a": {"description": '"cache_control"'}}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
async def test_a_property_that_is_called_like_a_mark_is_none(schema):
    body = {**asked("chat", schema=schema), "model": "claude-sonnet-4-5"}
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    assert found.sent[0]["tools"][-1]["cache_control"] == {"type": "ephemeral"}
    assert marks(found.sent[0]) == 2


@pytest.mark.parametrize("blank", ["\n", " ", "\t\n", "  \r\n", "\n\n\n"], ids=repr)
async def test_a_blank_text_gets_no_mark(blank):
    said = [{"type": "text", "text": "look"}, {"type": "text", "text": blank}]
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": said}]}
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    blocks = found.sent[0]["messages"][0]["content"]
    assert "cache_control" in blocks[0]
    assert all("cache_control" not in block for block in blocks[1:])


OUTPUTS = {
    "claude-haiku-4-5": 64_000,
    "claude-opus-4-5-20251101": 64_000,
    "claude-sonnet-4-5": 64_000,
    "claude-sonnet-4-6": 128_000,
    "claude-haiku-5-5": 128_000,
}


@pytest.mark.parametrize("model", OUTPUTS)
@pytest.mark.parametrize("asked_as", ["claude-opus-5", "fast"])
@pytest.mark.parametrize("budget", [None, 130_000, 20_000])
async def test_a_request_for_another_name_asks_for_no_more_than_the_model_writes(
    model, asked_as, budget
):
    """LiteLLM, for one, asks for 128,000 tokens under every name that it does not know."""
    body = {"model": asked_as, "max_tokens": 200_000, "messages": HELLO}
    if budget:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    sent, answer, refused = await through_a_router(body, model)
    assert refused == []
    assert answer.status_code == 200
    assert sent["max_tokens"] == OUTPUTS[model]
    assert sent.get("thinking", {}).get("budget_tokens", 0) < OUTPUTS[model]


class Receipts(Plugin[NoOptions]):
    """Keeps the lines of the last receipt."""

    lines: ClassVar[list[str]] = []

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Copy the lines."""
        self.lines[:] = [entry.what for entry in exchange.receipt]


@pytest.mark.lenient("anthropic")  # the server refuses it first, and names the limit
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("budget", [None, 100_000, 2000])
async def test_a_limit_that_the_server_names_is_kept_the_second_time(stream, budget):
    """LiteLLM asks for 128,000 tokens under ids of ours that it does not know."""
    body = {"model": "anthropic/up/claude-sonnet-4-5", "max_tokens": 128_000, "messages": HELLO}
    body["stream"] = stream
    if budget:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    async with StrictUpstream("anthropic") as upstream:
        backend = build_plugin(Anthropic, "up", base_url=upstream.url, api_key="k")
        async with gateway([backend, Receipts(NoOptions(), name="receipts")]) as running:
            answer = await running.client.post("/v1/messages", json=body)
    first, second = [request.json for request in upstream.requests]
    assert answer.status_code == 200, answer.text
    assert first == {**body, "model": "claude-sonnet-4-5"}
    assert second.pop("max_tokens") == 64_000
    if budget:
        assert second.pop("thinking")["budget_tokens"] == min(budget, 48_000)
    assert second.items() <= first.items()
    line = "retried after a refusal: this Claude model writes at most 64000 tokens"
    assert Receipts.lines.count(line) == 1


@pytest.mark.lenient("anthropic")
async def test_a_request_that_the_server_accepts_is_never_lowered():
    """A beta feature may raise the limit that the documentation names."""
    body = {"model": "anthropic/up/claude-sonnet-4-5", "max_tokens": 128_000, "messages": HELLO}
    async with ScriptedUpstream(otherwise=respond(200, REPLY)) as upstream:
        backend = build_plugin(Anthropic, "up", base_url=upstream.url, api_key="k")
        async with gateway([backend]) as running:
            await running.client.post("/v1/messages", json=body)
    assert [request.json["max_tokens"] for request in upstream.requests] == [128_000]


@pytest.mark.lenient("anthropic")
@pytest.mark.parametrize(
    ("status", "message", "times"),
    [
        (400, "max_tokens: 128000 > 128000, which is the maximum", 1),  # not above it
        (400, "max_tokens: 128000 > 64000, which is the maximum", 2),  # refused again
        (400, "max_tokens: 128000 > 1, which is the maximum", 1),  # no limit of any model
        (400, "messages: roles must alternate", 1),
        (429, "max_tokens: 128000 > 64000, which is the maximum", 1),
    ],
)
async def test_a_refusal_that_a_lower_limit_does_not_cure_reaches_the_client(
    status, message, times
):
    body = {"model": "anthropic/up/claude-sonnet-4-5", "max_tokens": 128_000, "messages": HELLO}
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    error = {"type": "error", "error": {"type": kind, "message": message}}
    async with ScriptedUpstream(otherwise=respond(status, error)) as upstream:
        backend = build_plugin(Anthropic, "up", base_url=upstream.url, api_key="k")
        async with gateway([backend]) as running:
            answer = await running.client.post("/v1/messages", json=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert len(upstream.requests) == times


async def test_a_request_within_the_limit_keeps_its_own():
    body = {"model": "fast", "max_tokens": 64_000, "messages": HELLO}
    sent, _, _ = await through_a_router(body, "claude-sonnet-4-5")
    assert sent["max_tokens"] == 64_000


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-20241022", 8192),
        ("claude-3-7-sonnet-20250219", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-1", 32_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-haiku-latest", 64_000),
        ("claude-opus-latest", 128_000),
        ("claude-fable-5-1", 128_000),
    ],
)
def test_the_most_that_a_claude_model_writes(model, most):
    claude = Claude.named(model)
    assert claude is not None
    assert claude.most_output == most


LATE = [
    *HELLO,
    {"role": "system", "content": "Be brief."},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Go on."},
    {"role": "system", "content": [{"type": "text", "text": "Now be long."}]},
]


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-7"])
async def test_system_turns_are_reminders_for_models_that_do_not_take_them(model):
    """Claude Code sends them under every name that it does not know."""
    body = {"model": "fast", "max_tokens": 99, "messages": LATE}
    sent, answer, refused = await through_a_router(body, model)
    assert refused == []
    assert answer.status_code == 200
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert "Now be long." in sent["messages"][-1]["content"][-1]["text"]


async def test_system_turns_stay_for_models_that_take_them():
    body = {"model": "fast", "max_tokens": 99, "messages": LATE}
    sent, _, refused = await through_a_router(body, "claude-opus-4-8")
    assert refused == []
    assert sent["messages"] == LATE


async def through_a_router(body, model):
    """What the server got of a request, the answer, and what it refused."""
    async with StrictUpstream("anthropic") as upstream:
        plugins = [
            build_plugin(Router, "router", models={"*": [f"up/{model}"]}),
            build_plugin(Anthropic, "up", base_url=upstream.url, api_key="k"),
        ]
        async with gateway(plugins) as running:
            answer = await running.client.post("/v1/messages", json=body)
    return upstream.requests[-1].json, answer, upstream.refused
