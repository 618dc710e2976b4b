"""In the default stack nothing in between takes the raw path away, or breaks what is translated."""

import openai
import orjson
import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_local_answers import LocalAnswers
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

LAYERS = (
    LocalAnswers,
    Thinking,
    Resilience,
    ErrorNormalizer,
    ToolRepair,
    ContextGuard,
    FieldPolicy,
)


PIECES = [b'data: {"odd": 1.0}\n\n', b"data: [DONE]\n\n"]


def relayed(request):
    """A list of models, or a stream."""
    return sse(PIECES) if request.method == "POST" else respond(200, {"data": [{"id": "gpt-real"}]})


@pytest.fixture
async def stack(client_of):
    """The gateway's client, an OpenAI-format server `up` and an Anthropic-format one `claude`."""
    async with ScriptedUpstream(otherwise=relayed) as up, ScriptedUpstream() as claude:
        plugins = [build_plugin(OpenAIApi, "openai-api")]
        plugins += [build_plugin(layer, layer.__name__.lower()) for layer in LAYERS]
        routes = {"gpt*": ["up/gpt-real"], "*": ["claude/m"]}
        plugins.append(build_plugin(Router, "router", models=routes))
        url = f"{up.url}/v1"
        plugins.append(build_plugin(OpenAICompatible, "up", base_url=url, learn=False))
        plugins.append(
            build_plugin(AnthropicCompatible, "claude", base_url=claude.url, models=["m"])
        )
        async with gateway(plugins) as gate, client_of(gate) as client:
            yield gate, client, up, claude


def tools_asked(**fields):
    user = {"role": "user", "content": "hi"}
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    return {"messages": [user], "tools": [tool], **fields}


@pytest.mark.parametrize("limit", [{}, {"max_tokens": 5}])
async def test_bytes_are_relayed_through_every_layer(stack, limit):
    gate, _, up, _ = stack
    fields = {"n": 2, "seed": 1, "temperature": 1.7, "reasoning_effort": "minimal", **limit}
    body = {"model": "gpt-5", **tools_asked(stream=True, **fields)}
    system = {"role": "system", "content": "x"}
    body["messages"] += [{"role": "assistant", "content": "y"}, system, body["messages"][0]]
    response = await gate.post(orjson.dumps(body), "/v1/chat/completions")
    assert response.content == b"".join(PIECES)
    asked = [r for r in up.requests if r.method == "POST"]
    assert [orjson.loads(r.body) for r in asked] == [{**body, "model": "gpt-real"}]


async def test_tools_go_to_a_server_of_the_messages_api_and_back(stack):
    _, client, _, claude = stack
    claude.script(
        sse(anthropic_stream("I look.", tool_calls=[("look", {"a": "1"}), ("look", {"a": "2"})])),
        respond(200, anthropic_message("Seen.")),
    )
    asked = tools_asked(model="sonnet", max_tokens=500)
    async with client.chat.completions.stream(**asked) as stream:
        (choice,) = (await stream.get_final_completion()).choices
    said = choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "x"}
        for call in choice.message.tool_calls
    ]
    asked["messages"] += [said, *results]
    found = await client.chat.completions.create(**asked)
    assert found.choices[0].message.content == "Seen."
    assert found.model == "sonnet"
    assistant, user = claude.requests[-1].json["messages"][1:]
    assert [block["type"] for block in assistant["content"]] == ["text", "tool_use", "tool_use"]
    assert [block["type"] for block in user["content"]] == ["tool_result"] * 2


async def test_an_overflow_is_told_as_openai_tells_it(stack):
    _, client, _, claude = stack
    told = "prompt is too long: 210000 tokens > 200000 maximum"
    claude.script(anthropic_error(400, "invalid_request_error", told))
    with pytest.raises(openai.BadRequestError) as raised:
        await client.chat.completions.create(**tools_asked(model="sonnet", max_tokens=5))
    assert raised.value.code == "context_length_exceeded"
    assert "maximum context length is 200000 tokens" in raised.value.message


@pytest.mark.lenient("anthropic.strict_schemas")  # of a server that is none of Anthropic's
async def test_a_schema_like_that_of_a_session_title_is_answered_by_the_model(stack):
    _, client, _, claude = stack
    claude.script(respond(200, anthropic_message('{"title": "Yes"}')))
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    form = {"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}
    user = [{"role": "user", "content": "a long story"}]
    found = await client.chat.completions.create(
        model="sonnet", messages=user, max_tokens=50, response_format=form
    )
    assert found.choices[0].message.content == '{"title": "Yes"}'
