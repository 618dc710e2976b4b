"""What goes to a Claude model is what that model takes, whoever wrote the request."""

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

KINDS = [Anthropic, AnthropicCompatible]
BY_BUDGET = [
    "claude-haiku-4-5",
    "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5",
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "claude-sonnet-4-20250514",
    "claude-opus-4-1",
    "claude-3-7-sonnet-20250219",
]
BY_EFFORT = ["claude-opus-4-6", "claude-sonnet-4-6", "anthropic/claude-sonnet-4.6"]
NEWEST = [
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-sonnet-5",
    "claude-fable-5",
    "claude-4.7-opus",
]
WITHOUT_THINKING = ["claude-3-5-haiku-20241022", "claude-3-opus-20240229", "claude-3-5-sonnet"]
TOOL = {"name": "f", "description": "Does it.", "input_schema": {"type": "object"}}
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}


def asked_by(dialect, model, *, effort=None, **fields):
    body = {"model": f"up/{model}", **fields}
    said = [{"role": "user", "content": "hi"}]
    if dialect == "chat":
        return body | {"messages": said} | ({"reasoning_effort": effort} if effort else {})
    body.pop("top_k", None)
    return body | {"input": said} | ({"reasoning": {"effort": effort}} if effort else {})


async def sent(plugin, path, body, *between):
    """What reaches the server, and the receipt's line."""
    async with ScriptedUpstream() as up:
        backend = build_plugin(plugin, "up", base_url=up.url, api_key="k")
        front = build_plugin(OpenAIApi, "openai-api")
        async with gateway([front, *between, backend]) as gate:
            shown = await gate.client.post(f"{path}/explain", json=body)
            response = await gate.client.post(path, json=body)
        assert response.status_code == 200, response.text
        return up.requests[-1].json, shown.text


@pytest.mark.parametrize("plugin", KINDS)
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("model", BY_BUDGET)
async def test_an_effort_is_a_budget_where_the_model_thinks_by_one(plugin, dialect, model):
    body, told = await sent(plugin, PATHS[dialect], asked_by(dialect, model, effort="high"))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 16384}
    assert "output_config" not in body
    assert "needs a thinking budget: set to 16384 tokens" in told
    assert "does not support effort" in told


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("model", [*BY_EFFORT, *NEWEST])
async def test_an_effort_stays_one_where_the_model_takes_it(dialect, model):
    body, _ = await sent(Anthropic, PATHS[dialect], asked_by(dialect, model, effort="low"))
    assert body["thinking"]["type"] == "adaptive"
    assert body["output_config"] == {"effort": "low"}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("model", WITHOUT_THINKING)
async def test_a_model_that_does_not_think_is_not_asked_to(dialect, model):
    body, told = await sent(Anthropic, PATHS[dialect], asked_by(dialect, model, effort="high"))
    assert not {"thinking", "output_config"} & body.keys()
    assert "does not support thinking" in told


@pytest.mark.parametrize(
    ("model", "effort", "fit"),
    [
        ("claude-opus-4-6", "xhigh", "high"),
        ("claude-sonnet-4-6", "max", "max"),
        ("claude-opus-4-5", "max", "high"),
        ("claude-opus-4-5", "xhigh", "high"),
        ("claude-opus-4-5", "minimal", "low"),
        ("claude-opus-4-8", "xhigh", "xhigh"),
        ("claude-sonnet-5", "max", "max"),
    ],
)
async def test_an_effort_is_the_most_that_the_model_has(model, effort, fit):
    body, _ = await sent(Anthropic, PATHS["chat"], asked_by("chat", model, effort=effort))
    assert body["output_config"]["effort"] == fit


@pytest.mark.parametrize(
    ("limit", "budget"), [(100_000, 16384), (8000, 6000), (2000, 1500), (1366, 1024), (1024, None)]
)
async def test_a_budget_leaves_room_for_the_answer(limit, budget):
    asked = asked_by("chat", "claude-haiku-4-5", effort="high", max_completion_tokens=limit)
    body, _ = await sent(Anthropic, PATHS["chat"], asked)
    assert body["max_tokens"] == min(limit, 64_000)  # the most that the model writes
    assert body.get("thinking", {}).get("budget_tokens") == budget


@pytest.mark.parametrize("model", BY_BUDGET)
async def test_no_budget_where_the_thinking_before_the_last_call_is_gone(model):
    asked = asked_by("chat", model, effort="high")
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
    ]
    body, told = await sent(Anthropic, PATHS["chat"], asked)
    assert "thinking" not in body
    assert "requires the thinking before the last calls" in told


@pytest.mark.parametrize("plugin", KINDS)
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(
    ("model", "given", "kept"),
    [
        *((model, {"temperature": 0.2, "top_p": 0.9}, set()) for model in NEWEST),
        ("claude-opus-4-8", {"temperature": 1}, set()),
        ("claude-sonnet-4-5", {"temperature": 0.2, "top_p": 0.9}, {"temperature"}),
        ("claude-haiku-4-5", {"temperature": 0.2, "top_p": 1}, {"temperature"}),
        ("claude-opus-4-6", {"top_p": 0.9}, {"top_p"}),
        ("claude-sonnet-4-20250514", {"temperature": 0.2, "top_p": 0.9}, {"temperature", "top_p"}),
        ("claude-haiku-4-5", {"effort": "low", "temperature": 0.2}, set()),
        ("claude-sonnet-4-6", {"effort": "low", "temperature": 0.2}, set()),
        ("claude-sonnet-4-6", {"effort": "low", "temperature": 1}, {"temperature"}),
        ("claude-opus-4-6", {"effort": "low", "top_p": 0.5}, set()),
        ("claude-opus-4-6", {"effort": "low", "top_p": 0.96}, {"top_p"}),
        ("claude-opus-4-6", {"effort": "none", "temperature": 0.2}, {"temperature"}),
    ],
)
async def test_sampling_fields_that_the_model_refuses_are_left_out(
    plugin, dialect, model, given, kept
):
    body, told = await sent(plugin, PATHS[dialect], asked_by(dialect, model, **given))
    assert body.keys() & {"temperature", "top_p", "top_k"} == kept
    if given.keys() - {"effort"} != kept:
        assert "Claude model" in told


ALIASED = {
    "a budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 4000}},
        "claude-opus-4-8",
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
    ),
    "adaptive": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        "claude-haiku-4-5",
        {"thinking": {"type": "enabled", "budget_tokens": 8192}},
    ),
    "only an effort": ({"output_config": {"effort": "max"}}, "claude-sonnet-4-5", {}),
    "temperature": ({"temperature": 0.3}, "claude-sonnet-5", {}),
    "top_k": ({"top_k": 5}, "claude-opus-4-7", {}),
    "both": ({"temperature": 0.3, "top_p": 0.5}, "claude-opus-4-5", {"temperature": 0.3}),
    "too much": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
        "claude-sonnet-4-6",
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    "no thinking where it always thinks": (
        {"thinking": {"type": "disabled"}},
        "claude-fable-5",
        {"output_config": {"effort": "low"}},
    ),
    "no thinking where it may think between tools": (
        {"thinking": {"type": "disabled"}},
        "claude-sonnet-5-5",
        {"thinking": {"type": "between_tools"}},
    ),
    "no thinking at the highest effort": (
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
        "claude-opus-5",
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
    ),
    "a forced tool where none can be": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
        "claude-opus-5-5",
        {"tools": [TOOL], "tool_choice": {"type": "auto"}},
    ),
    "a forced tool": (
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        "claude-opus-5",
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
    ),
}


@pytest.mark.parametrize("plugin", KINDS)
@pytest.mark.parametrize("case", ALIASED)
async def test_a_client_of_messages_that_names_an_alias_is_served_too(plugin, case):
    given, model, expected = ALIASED[case]
    said = [{"role": "user", "content": "hi"}]
    asked = {"model": "mine", "max_tokens": 30_000, "messages": said, **given}
    router = build_plugin(Router, "router", models={"mine": [f"up/{model}"]})
    body, _ = await sent(plugin, "/v1/messages", asked, router)
    base = {"model": model, "max_tokens": 30_000, "messages": said}
    assert body == base | expected


@pytest.mark.lenient("anthropic")
@pytest.mark.parametrize("case", ALIASED)
async def test_what_a_client_of_messages_writes_for_the_model_that_it_names_goes_as_it_is(case):
    given, model, _ = ALIASED[case]
    said = [{"role": "user", "content": "hi"}]
    asked = {"model": f"up/{model}", "max_tokens": 30_000, "messages": said, **given}
    body, _ = await sent(Anthropic, "/v1/messages", asked)
    assert body == {**asked, "model": model}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-sonnet-4-6", ["So", "Go on."]),
        ("claude-opus-5", ["So", "Go on."]),
        ("claude-sonnet-4-5", ["So"]),
    ],
)
async def test_an_answer_that_is_begun_is_sent_as_the_model_takes_it(dialect, model, expected):
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "So "}]
    field = "input" if dialect == "responses" else "messages"
    body, _ = await sent(Anthropic, PATHS[dialect], {"model": f"up/{model}", field: said})
    told = [turn["content"] for turn in body["messages"][1:]]
    assert [text if isinstance(text, str) else text[0]["text"] for text in told] == expected


async def test_what_no_claude_model_takes_is_left_out():
    tools = [{"type": "function", "function": {"name": name}} for name in "aba"]
    asked = asked_by("chat", "claude-sonnet-4-5", tools=tools, stop=["\n", "END"], user="a@b.com")
    body, told = await sent(Anthropic, PATHS["chat"], asked)
    assert [tool["name"] for tool in body["tools"]] == ["a", "b"]
    assert body["stop_sequences"] == ["END"]
    assert "@" not in body["metadata"]["user_id"]
    assert "reject duplicate tool names" in told
    assert "reject blank stop sequences" in told
