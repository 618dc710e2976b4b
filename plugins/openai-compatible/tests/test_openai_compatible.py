"""A server of Chat Completions behind the gateway: answers, errors, what is learnt, who leaves."""

import json
from contextlib import AsyncExitStack
from typing import get_args

import anthropic
import openai
import pytest
from pydantic import ValidationError
from usual_stack import stack

from plugway.testing import (
    ERRORS,
    Cut,
    Hold,
    ScriptedUpstream,
    assert_valid_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_error_normalizer import ErrorNormalizer
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible, presets
from plugway_openai_compatible._presets import PresetName
from plugway_openai_wire.testing import chat_message, chat_server, chat_stream, data
from plugway_tool_repair import ToolRepair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

READ = {"name": "Read", "description": "Reads.", "input_schema": {"type": "object"}}
CALL = ("call_1", "Read", '{"path": "a"}')


def backend(upstream, name="up", **options):
    return build_plugin(OpenAICompatible, name, base_url=f"{upstream.url}/v1", **options)


@pytest.fixture
async def upstream():
    async with ScriptedUpstream(otherwise=chat_server("On it.", tool_calls=[CALL])) as found:
        yield found


@pytest.fixture
async def always():
    """Upstreams that answer everything alike."""
    async with AsyncExitStack() as stack:

        async def make(answer):
            return await stack.enter_async_context(ScriptedUpstream(otherwise=answer))

        yield make


def contents(message):
    return [(b.type, getattr(b, "text", None) or getattr(b, "input", None)) for b in message]


# ── real clients ─────────────────────────────────────────────────────────────────────────────────


async def test_the_anthropic_sdk_is_answered_streamed_and_whole(upstream):
    asked = {
        "model": "up",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "read a"}],
        "tools": [READ],
    }
    async with (
        gateway(stack(upstream.url)) as running,
        anthropic.AsyncAnthropic(
            base_url=running.url, api_key=running.token, max_retries=0
        ) as client,
    ):
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert contents(message.content) == [("text", "On it."), ("tool_use", {"path": "a"})]
        assert message.stop_reason == "tool_use"
        assert (message.usage.input_tokens, message.usage.output_tokens) == (12, 5)
    sent = upstream.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.json["tools"][0]["function"]["name"] == "Read"


@pytest.mark.lenient("chat.known_fields")
async def test_thinking_returns_to_its_maker_through_the_whole_stack(upstream):
    upstream.script(sse(chat_stream("On it.", thinking="Hm.", tool_calls=[CALL])))
    async with (
        gateway(stack(upstream.url)) as running,
        anthropic.AsyncAnthropic(
            base_url=running.url, api_key=running.token, max_retries=0
        ) as client,
    ):
        turns = [{"role": "user", "content": "read a"}]
        asked = {"model": "up", "max_tokens": 100, "tools": [READ], "messages": turns}
        async with client.messages.stream(**asked) as stream:
            first = await stream.get_final_message()
        turns += [
            {"role": "assistant", "content": first.content},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "A"}
                ],
            },
        ]
        await client.messages.create(**asked)
    second = upstream.requests[1].json["messages"]
    assert [m["role"] for m in second] == ["user", "assistant", "tool"]
    assert second[1]["reasoning_content"] == "Hm."
    assert second[1]["tool_calls"][0]["id"] == second[2]["tool_call_id"] == "call_1"


async def test_an_openai_client_gets_the_servers_own_bytes(upstream):
    raw = b"".join(chat_stream("Hi."))
    raw = raw.replace(
        b'"object":"chat.completion.chunk"', b'"object":"chat.completion.chunk","own":1'
    )
    upstream.script(sse([raw]), respond(200, {**chat_message("Hi."), "own": 1}))
    async with gateway([build_plugin(OpenAIApi, "openai-api"), backend(upstream)]) as running:
        url = f"{running.url}/v1/chat/completions"
        asked = {
            "model": "up",
            "stream": True,
            "seed": 7,
            "messages": [{"role": "user", "content": "hi"}],
        }
        streamed = await running.client.post(url, json=asked)
        whole = await running.client.post(url, json={**asked, "stream": False})
        async with openai.AsyncOpenAI(
            base_url=f"{running.url}/v1", api_key=running.token, max_retries=0
        ) as client:
            told = await client.chat.completions.create(
                model="up", messages=[{"role": "user", "content": "hi"}]
            )
    assert streamed.content == raw
    assert whole.json()["own"] == 1
    assert told.choices[0].message.content == "On it."
    assert [r.json.get("seed") for r in upstream.requests] == [7, 7, None]


async def test_a_client_of_openai_is_told_of_a_stream_that_stops(upstream):
    upstream.script(sse(chat_stream("Hi.")[:-3]))  # without a `finish_reason`
    async with (
        gateway([build_plugin(OpenAIApi, "openai-api"), backend(upstream)]) as running,
        openai.AsyncOpenAI(
            base_url=f"{running.url}/v1", api_key=running.token, max_retries=0
        ) as client,
    ):
        with pytest.raises(openai.APIError):
            async for _ in await client.chat.completions.create(
                model="up", stream=True, messages=[{"role": "user", "content": "hi"}]
            ):
                pass


# ── what is done is said ─────────────────────────────────────────────────────────────────────────


async def test_what_is_dropped_is_on_the_receipt_and_explain_shows_the_request(upstream):
    async with gateway([backend(upstream)]) as running:
        asked = request_body(top_k=3, metadata={"user_id": "me"})
        explained = (await running.post(asked, "/v1/messages/explain")).json()
        answered = await running.post(asked)
    said = [line["what"] for line in explained["receipt"] if line["plugin"] == "up"]
    assert said == [
        "drop top_k: the API has no such field",
        "drop metadata: this server does not receive user ids",
    ]
    assert explained["upstream_request"]["body"]["messages"] == [
        {"role": "user", "content": "hello"}
    ]
    assert "by=up" in answered.headers["plugway-receipt"]
    (request,) = upstream.requests
    would = explained["upstream_request"]
    assert would["url"] == f"{upstream.url}{request.path}"
    assert would["headers"].items() <= dict(request.headers).items()
    assert would["headers"]["user-agent"] == "plugway"
    assert would["body"] == request.json


async def test_the_server_learns_no_more_of_the_client_than_it_needs(upstream):
    async with gateway([backend(upstream, api_key="sk-canary")]) as running:
        await running.ask("hi", extra="x")
    names = {name.lower() for name, _ in upstream.requests[0].headers}
    assert names <= {
        "host",
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "user-agent",
    }
    assert upstream.requests[0].header("authorization") == "Bearer sk-canary"
    assert upstream.requests[0].header("user-agent") == "plugway"


# ── failures ─────────────────────────────────────────────────────────────────────────────────────

FROM_CHAT = [
    name
    for name in ERRORS
    if name.split(".")[0]
    in {
        "openai",
        "ollama",
        "lmstudio",
        "llamacpp",
        "vllm",
        "llamacpppython",
        "openrouter",
        "copilot",
        "deepseek",
        "bedrock",
        "proxy",
        "fastapi",
    }
]
MEANS = {
    "context_overflow": (400, "invalid_request_error"),
    "prompt_too_long": (400, "invalid_request_error"),
    "model_not_found": (404, "not_found_error"),
    "overloaded": (529, "overloaded_error"),
    "loading": (529, "overloaded_error"),
    "rate_limited": (429, "rate_limit_error"),
    "unauthorized": (401, "authentication_error"),
    "unsupported_parameter": (400, "invalid_request_error"),
    "max_tokens_too_large": (400, "invalid_request_error"),
}


@pytest.mark.parametrize("name", FROM_CHAT)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_servers_error_is_told_in_the_clients_words(always, name, stream):
    upstream = await always(ERRORS[name].script())
    api = "responses" if name == "openai.context_overflow_in_stream" else "chat"
    plugins = [
        build_plugin(ErrorNormalizer, "error-normalizer"),
        backend(upstream, learn=False, api=api),
    ]
    async with gateway(plugins) as running:
        response = await running.post(request_body(stream=stream))
    error = response.json()["error"]
    what = name.split(".")[1]
    wanted = next((v for k, v in MEANS.items() if what.startswith(k)), None)
    if wanted is not None:
        assert (response.status_code, error["type"]) == wanted
    assert response.status_code >= 400
    assert response.headers["content-type"] == "application/json"
    if what.startswith("context_overflow"):
        assert "prompt is too long" in error["message"]


@pytest.mark.parametrize("steps", [[Cut()], []], ids=["cut", "clean end"])
async def test_a_stream_that_stops_is_no_whole_answer(upstream, steps):
    upstream.script(sse([*chat_stream("Hello there.")[:3], *steps]))
    async with gateway([backend(upstream)]) as running:
        with pytest.raises(Exception, match=r"peer|closed|incomplete"):
            await running.stream("hi")


async def test_a_failure_before_any_content_is_tried_again(upstream):
    upstream.script(sse([data({"error": {"code": 503, "message": "overloaded"}})]))
    async with gateway(stack(upstream.url)) as running:
        message = await running.ask("hi", tools=[READ])
    assert message["content"][0]["text"] == "On it."
    assert len(upstream.requests) == 2


async def test_a_refused_key_is_told_by_its_place_and_never_by_itself(always):
    quoted = {"error": {"message": "no such key: sk-canary-77", "type": "invalid_request_error"}}
    upstream = await always(respond(401, quoted))
    async with gateway([backend(upstream, name="work", api_key="sk-canary-77")]) as running:
        response = await running.post(request_body())
    assert response.status_code == 401
    assert response.headers["x-should-retry"] == "false"
    message = response.json()["error"]["message"]
    assert "option `api_key` of `work`" in message
    assert "no such key: [redacted]" in message
    assert "canary" not in response.text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (respond(200, b"<html>hello</html>", {"content-type": "text/html"}), "text/html"),
        (respond(200, b"", {"content-type": "application/json"}), "application/json"),
        (respond(200, {"error": {"code": 402, "message": "no money"}}), "no money"),
        (respond(200, {"choices": []}), "has no message"),
        (respond(200, chat_message("")), "its reply is empty"),
    ],
)
async def test_an_answer_that_is_none_is_a_failure(always, answer, told):
    upstream = await always(answer)
    async with gateway([backend(upstream)]) as running:
        response = await running.post(request_body())
    assert response.status_code >= 400
    assert told in response.json()["error"]["message"]


async def test_broken_arguments_in_a_whole_answer_are_a_failure(always):
    bad = chat_message(None, tool_calls=[("call_1", "Read", '{"path": ')])
    upstream = await always(respond(200, bad))
    async with gateway([backend(upstream)]) as running:
        response = await running.post(request_body(tools=[READ]))
    assert response.status_code == 502
    assert "not valid JSON" in response.json()["error"]["message"]


BASH = {"name": "Bash", "input_schema": {"type": "object"}}
TEXT = "<think>Hm.</think>On it."
APART = [("thinking", "Hm."), ("text", "On it.")]


@pytest.mark.parametrize(
    ("said", "fields", "options", "found"),
    [
        (TEXT, {"tools": [BASH]}, {}, APART),
        (TEXT, {}, {"without_tools": True}, APART),
        (TEXT, {}, {}, [("text", TEXT)]),
        (TEXT, {"tools": [BASH]}, None, [("text", TEXT)]),
        ("Use `<think>x</think>`.", {"tools": [BASH]}, {}, [("text", "Use `<think>x</think>`.")]),
    ],
)
async def test_thinking_in_the_content_is_read_where_tools_may_be_called(
    always, said, fields, options, found
):
    upstream = await always(chat_server(said))
    between = [] if options is None else [build_plugin(ToolRepair, "tool-repair", **options)]
    async with gateway([*between, backend(upstream)]) as running:
        response = await running.post(request_body(**fields))
    blocks = response.json()["content"]
    assert [(block["type"], block[block["type"]]) for block in blocks] == found


# ── what refusals teach ──────────────────────────────────────────────────────────────────────────


async def test_a_refusal_that_teaches_is_answered_by_asking_once_more(upstream):
    upstream.script(ERRORS["openai.unsupported_parameter"].script())
    async with gateway([backend(upstream)]) as running:
        first = await running.post(request_body(temperature=0.5))
        second = await running.post(request_body(temperature=0.5))
    assert (first.status_code, second.status_code) == (200, 200)
    sent = [r.json for r in upstream.requests]
    assert len(sent) == 3
    assert sent[0] != sent[1] == sent[2]
    assert sent[0]["max_tokens"] == sent[1]["max_completion_tokens"] == 100


async def test_nothing_is_asked_twice_where_nothing_was_learnt(always):
    upstream = await always(ERRORS["openai.context_overflow"].script())
    async with gateway([backend(upstream)]) as running:
        response = await running.post(request_body())
    assert response.status_code == 400
    assert len(upstream.requests) == 1


# ── connections ──────────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_leaves_stops_the_server(upstream):
    upstream.script(sse([*chat_stream("Hello there.")[:3], Hold()]))
    async with gateway([backend(upstream)]) as running:
        async with running.client.stream(
            "POST", "/v1/messages", json=request_body(stream=True)
        ) as response:
            await anext(response.aiter_raw())
        request = await upstream.wait_for_request()
        await request.left.wait()


async def test_a_connection_is_used_again_after_a_whole_stream(upstream):
    async with gateway([backend(upstream)]) as running:
        for _ in range(3):
            events = await running.stream("hi", tools=[READ])
            assert_valid_stream(events)
    assert upstream.connections == 1


async def test_models_are_listed_with_what_is_known_of_them():
    listed = {
        "data": [
            {
                "id": "deepseek/deepseek-chat",
                "name": "DeepSeek",
                "context_length": 163_840,
                "top_provider": {"max_completion_tokens": 32_768},
                "supported_parameters": ["tools", "reasoning"],
                "architecture": {"input_modalities": ["text", "image"]},
            },
            {"id": "m2", "max_model_len": 4096},
            {"id": "embedder", "type": "embedding"},
            {"object": "no id"},
        ]
    }
    async with ScriptedUpstream(otherwise=respond(200, listed)) as upstream:
        made = backend(upstream, preset="openrouter")
        async with made.backend:
            first, second = await made.backend.models()
    assert (first.id, first.display_name) == ("deepseek/deepseek-chat", "DeepSeek")
    assert (first.context_tokens, first.max_output_tokens) == (163_840, 32_768)
    assert first.capabilities == {"tools", "thinking", "images"}
    assert (second.id, second.context_tokens) == ("m2", 4096)
    async with ScriptedUpstream(otherwise=respond(200, [{"id": "x", "type": "chat"}])) as upstream:
        made = backend(upstream, preset="together")
        async with made.backend:
            assert [info.id for info in await made.backend.models()] == ["x"]


# ── presets and options ──────────────────────────────────────────────────────────────────────────


def test_every_preset_has_its_row_and_makes_a_backend():
    assert presets().keys() == set(get_args(PresetName))
    for name in presets():
        url = {"base_url": "https://mine.openai.azure.com/openai/v1"} if name == "azure" else {}
        made = build_plugin(OpenAICompatible, name, preset=name, learn=False, **url)
        host = made.backend.upstream.base_url.split("/")[2]
        assert made.backend.zone == ("local" if made.backend.upstream.loopback else host)


async def test_a_preset_sets_the_key_header_and_the_words():
    async with ScriptedUpstream(otherwise=chat_server()) as upstream:
        plugins = [backend(upstream, "az", preset="azure", api_key="k")]
        async with gateway(plugins) as running:
            await running.ask("hi", output_config={"effort": "low"})
    sent = upstream.requests[0]
    assert (sent.header("api-key"), sent.header("authorization")) == ("k", None)
    assert sent.json["max_completion_tokens"] == 100
    assert sent.json["reasoning_effort"] == "low"


@pytest.mark.lenient("chat.known_fields")
@pytest.mark.parametrize(
    ("preset", "model", "kept"),
    [
        ("openrouter", "anthropic/claude-sonnet-4.5", True),
        ("openrouter", "anthropic/claude-opus-4.6:beta", True),
        ("openrouter", "~anthropic/claude-sonnet-latest", True),
        ("openrouter", "google/gemini-3-pro", True),
        ("openrouter", "qwen/qwen3-coder-plus", True),
        ("openrouter", "google/gemma-3-27b-it", False),
        ("openrouter", "openai/gpt-5", False),
        ("litellm", "anthropic/claude-opus-4-6", True),
        ("litellm", "my-claude", True),
        ("litellm", "bedrock/us.anthropic.claude-sonnet-4-6", True),
        ("litellm", "mistral-large", False),
        ("groq", "anthropic/claude", False),
        (None, "anthropic/claude", False),
    ],
)
async def test_marks_for_caching_go_to_routers_that_document_them(preset, model, kept):
    mark = {"type": "ephemeral"}
    async with (
        ScriptedUpstream(otherwise=chat_server()) as upstream,
        gateway([backend(upstream, preset=preset)]) as running,
    ):
        system = [{"type": "text", "text": "Be brief.", "cache_control": mark}]
        await running.ask("hi", model=f"up/{model}", system=system)
    part = {"type": "text", "text": "Be brief.", "cache_control": mark}
    assert upstream.requests[0].json["model"] == model
    told = upstream.requests[0].json["messages"][0]["content"]
    assert told == ([part] if kept else "Be brief.")


async def test_options_win_over_the_preset():
    async with ScriptedUpstream(otherwise=chat_server()) as upstream:
        plugins = [
            backend(
                upstream,
                preset="groq",
                output_limit_field="max_tokens",
                extra_body={"seed": 1},
                images=False,
            )
        ]
        async with gateway(plugins) as running:
            await running.ask("hi")
    assert upstream.requests[0].json["max_tokens"] == 100
    assert upstream.requests[0].json["seed"] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "base_url"),
        ({"preset": "azure"}, "base_url"),
        ({"preset": "nobody"}, "preset"),
        ({"base_url": "http://example.com/v1", "api_key": "k"}, "https"),
        ({"base_url": "ftp://example.com"}, "base_url"),
        ({"base_url": "http://127.0.0.1:1/v1/chat/completions/"}, "not end in `/chat/completions`"),
        ({"preset": "groq", "extra_body": {"messages": []}}, "messages"),
    ],
)
def test_options_that_cannot_work_are_refused(options, told):
    with pytest.raises(ValidationError, match=told):
        build_plugin(OpenAICompatible, "x", **options)


async def test_responses_can_be_spoken_instead():
    answer = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi.", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    async with (
        ScriptedUpstream(otherwise=respond(200, answer)) as upstream,
        gateway([backend(upstream, api="responses")]) as running,
    ):
        message = await running.ask("hi")
    assert message["content"] == [{"type": "text", "text": "Hi."}]
    assert upstream.requests[0].path == "/v1/responses"
    assert json.loads(upstream.requests[0].body)["store"] is False
