"""The `anthropic` SDK, sync and async, streaming and not, through the gateway to every backend."""

from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import anthropic
import anyio
import anyio.to_thread
import pytest

from plugway.testing import (
    ERRORS,
    Gateway,
    Hold,
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_echo import Echo
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_vllm import Vllm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SERVERS = {
    "anthropic": partial(build_plugin, Anthropic, "up", api_key="k"),
    "anthropic-compatible": partial(build_plugin, AnthropicCompatible, "up"),
    "ollama": partial(build_plugin, Ollama, "up"),
    "lmstudio": partial(build_plugin, LmStudio, "up"),
    "llama-server": partial(build_plugin, LlamaServer, "up"),
    "vllm": partial(build_plugin, Vllm, "up"),
}
TURN = {"model": "up/m", "max_tokens": 100, "messages": [{"role": "user", "content": "Read a.txt"}]}
TOOL = {"name": "Read", "description": "", "input_schema": {"type": "object", "properties": {}}}
CALL = ("Read", {"path": "a.txt", "text": "\u00e9 \U0001f642"})


def rich(request):
    """Thinking, text and a tool call, as far as the request allows them."""
    parts = {"thinking": "Hm.", "tool_calls": [CALL], "model": "real-name"}
    if request.json.get("stream"):
        return sse(anthropic_stream(["On ", "it."], **parts), chunk_sizes=[17])
    return respond(200, anthropic_message("On it.", **parts))


class Bench(NamedTuple):
    client: anthropic.AsyncAnthropic
    upstream: ScriptedUpstream
    running: Gateway


@asynccontextmanager
async def through(name, *scripts, otherwise=rich, **more):
    """An async client of a gateway whose upstream replies with `scripts`."""
    async with ScriptedUpstream(*scripts, otherwise=otherwise) as upstream:
        stack = [SERVERS[name](base_url=upstream.url)]
        async with gateway(stack) as running, asynchronous(running, **more) as client:
            yield Bench(client, upstream, running)


def options(running, **more):
    given = {} if "api_key" in more else {"auth_token": running.token}
    return {"base_url": running.url, "max_retries": 0, **given, **more}


def asynchronous(running, **more):
    return anthropic.AsyncAnthropic(**options(running, **more))


async def in_thread(running, work, **more):
    """Run `work` with a sync client, outside the gateway's event loop."""

    def run():
        with anthropic.Anthropic(**options(running, **more)) as client:
            return work(client)

    return await anyio.to_thread.run_sync(run)


def check(message):
    """Check the rich reply, under the requested model."""
    kinds = [block.type for block in message.content]
    assert kinds == ["thinking", "text", "tool_use"]
    thinking, text, call = message.content
    assert (thinking.thinking, bool(thinking.signature)) == ("Hm.", True)
    assert text.text == "On it."
    assert (call.name, call.input) == CALL
    assert (message.model, message.stop_reason) == ("up/m", "tool_use")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 5)


@pytest.mark.parametrize("name", SERVERS)
async def test_async_whole(name):
    async with through(name) as b:
        check(await b.client.messages.create(**TURN, tools=[TOOL]))
    assert b.upstream.requests[0].json["model"] == "m"


@pytest.mark.parametrize("name", SERVERS)
async def test_async_stream(name):
    async with through(name) as b, b.client.messages.stream(**TURN, tools=[TOOL]) as stream:
        kinds = [event.type async for event in stream]
        check(await stream.get_final_message())
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


@pytest.mark.parametrize("name", SERVERS)
async def test_sync_whole(name):
    async with through(name) as b:
        check(await in_thread(b.running, lambda c: c.messages.create(**TURN, tools=[TOOL])))


@pytest.mark.parametrize("name", SERVERS)
async def test_sync_stream(name):
    def work(client):
        with client.messages.stream(**TURN, tools=[TOOL]) as stream:
            return "".join(stream.text_stream), stream.get_final_message()

    async with through(name) as b:
        text, message = await in_thread(b.running, work)
    assert text == "On it."
    check(message)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_with_one_mode_only_serves_both(name, stream):
    """A stream although a complete message was requested, and vice versa."""
    parts = {"thinking": "Hm.", "tool_calls": [CALL], "model": "real-name"}
    script = (
        respond(200, anthropic_message("On it.", **parts))
        if stream
        else sse(anthropic_stream(["On ", "it."], **parts))
    )
    async with through(name, script) as b:
        if stream:
            async with b.client.messages.stream(**TURN) as events:
                check(await events.get_final_message())
        else:
            check(await b.client.messages.create(**TURN))


async def test_a_tool_round_trip_with_a_real_conversation():
    final = sse(anthropic_stream("It says hi."))
    async with through("anthropic") as b:
        first = await b.client.messages.create(**TURN, tools=[TOOL])
        b.upstream.script(final)
        result = {"type": "tool_result", "tool_use_id": first.content[2].id, "content": "hi"}
        turns = [
            *TURN["messages"],
            {"role": "assistant", "content": [b.model_dump() for b in first.content]},
            {"role": "user", "content": [result]},
        ]
        turn = {**TURN, "messages": turns, "tools": [TOOL]}
        async with b.client.messages.stream(**turn) as stream:
            assert await stream.get_final_text() == "It says hi."
    sent = b.upstream.requests[1].json["messages"]
    assert sent[1]["content"][0]["signature"]
    assert sent[2]["content"] == [result]


@pytest.mark.parametrize("stream", [True, False])
async def test_echo_answers_the_sdk(stream):
    async with gateway([build_plugin(Echo, "echo")]) as running, asynchronous(running) as client:
        turn = {**TURN, "model": "echo", "messages": [{"role": "user", "content": "good morning"}]}
        if stream:
            async with client.messages.stream(**turn) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(**turn)
        counted = await client.messages.count_tokens(model="echo", messages=turn["messages"])
    assert message.content[0].text.endswith("You said: good morning")
    assert counted.input_tokens > 0


async def test_beta_features_reach_anthropic():
    async with through("anthropic") as b:
        await b.client.beta.messages.create(
            **TURN,
            betas=["context-management-2025-06-27", "never-seen-2031-01-01"],
            context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
            extra_body={"future_field": {"a": 1}},
            extra_query={"beta": "true"},
        )
    (asked,) = b.upstream.requests
    assert asked.path == "/v1/messages?beta=true"
    assert asked.header("anthropic-beta") == "context-management-2025-06-27,never-seen-2031-01-01"
    assert asked.header("x-stainless-lang") == "python"
    assert asked.json["context_management"]["edits"][0]["type"] == "clear_tool_uses_20250919"
    assert asked.json["future_field"] == {"a": 1}


@pytest.mark.parametrize("name", SERVERS)
async def test_tokens_are_counted_where_the_server_counts(name):
    async with through(name, respond(200, {"input_tokens": 2095})) as b:
        counted = await b.client.messages.count_tokens(model="up/m", messages=TURN["messages"])
    assert counted.input_tokens == 2095


async def test_models_are_listed_and_found_under_their_public_ids():
    listed = respond(200, {"data": [{"id": "big/one", "max_model_len": 40960}]})
    async with through("vllm", otherwise=listed) as b:
        found = [model async for model in b.client.models.list(limit=1000)]
        one = await b.client.models.retrieve("anthropic/up/big/one")
    assert [(m.id, m.max_input_tokens) for m in found] == [("anthropic/up/big/one", 40960)]
    assert one.id == "anthropic/up/big/one"


async def test_anthropics_model_fields_are_listed_unchanged():
    said = {"effort": {"supported": True, "low": {"supported": True}}, "of_tomorrow": {"a": 1}}
    entry = {"id": "claude-x", "max_input_tokens": 200_000, "max_tokens": 64_000}
    listed = respond(200, {"data": [{**entry, "capabilities": said}]})
    async with through("anthropic", otherwise=listed) as b:
        (model,) = [model async for model in b.client.models.list(limit=1000)]
    assert (model.id, model.max_input_tokens) == ("anthropic/up/claude-x", 200_000)
    assert model.max_tokens == 64_000
    assert model.to_dict()["capabilities"] == said


FAILURES = {
    "anthropic.context_overflow": anthropic.BadRequestError,
    "anthropic.unauthorized": anthropic.AuthenticationError,
    "anthropic.forbidden": anthropic.PermissionDeniedError,
    "anthropic.model_not_found": anthropic.NotFoundError,
    "anthropic.rate_limited": anthropic.RateLimitError,
    "anthropic.overloaded": anthropic.InternalServerError,
    "ollama.model_not_found": anthropic.NotFoundError,
    "lmstudio.context_overflow_as_500": anthropic.InternalServerError,
    "llamacpp.context_overflow": anthropic.BadRequestError,
    "vllm.model_not_found": anthropic.NotFoundError,
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("name", "kind"), FAILURES.items())
async def test_errors_are_the_sdks_own_exceptions(name, kind, stream):
    server = {"llamacpp": "llama-server"}.get(name.partition(".")[0], name.partition(".")[0])
    asked_first = [respond(404)] if server == "ollama" else []  # `/api/show`, for its thinking
    async with through(server, *asked_first, ERRORS[name].script()) as b:
        with pytest.raises(kind) as caught:
            await b.client.messages.create(**TURN, stream=stream)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["message"]
    assert caught.value.request_id


async def test_the_sdks_own_retry_recovers_from_temporary_errors():
    overloaded = ERRORS["anthropic.overloaded"].script()
    limited = respond(
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "x"}},
        {"retry-after-ms": "5"},
    )
    async with through("anthropic", limited, overloaded, max_retries=2) as b:
        check(await b.client.messages.create(**TURN))
    assert len(b.upstream.requests) == 3


async def test_the_sdk_does_not_retry_a_refused_key():
    refused = ERRORS["anthropic.unauthorized"].script()
    async with through("anthropic", refused, refused, refused, max_retries=5) as b:
        with pytest.raises(anthropic.AuthenticationError, match="option `api_key` of `up`"):
            await b.client.messages.create(**TURN)
    assert len(b.upstream.requests) == 1


async def test_a_wrong_token_of_the_gateway_is_an_authentication_error():
    async with through("anthropic", auth_token="wrong") as b:
        with pytest.raises(anthropic.AuthenticationError, match="no valid token"):
            await b.client.messages.create(**TURN)
    assert b.upstream.requests == []


async def test_the_token_may_come_as_an_api_key_too():
    async with through("anthropic", api_key="test-token") as b:
        check(await b.client.messages.create(**TURN))
    assert b.upstream.requests[0].header("x-api-key") == "k"


async def test_leaving_a_stream_early_stops_the_upstream():
    events = anthropic_stream(["a", "b"])
    async with through("anthropic", sse(events[:4], end=Hold())) as b:
        async with b.client.messages.stream(**TURN) as stream:
            async for _ in stream.text_stream:
                break
        with anyio.fail_after(5):
            await b.upstream.requests[0].left.wait()


async def test_many_clients_in_threads_get_their_own_answers():
    def own(request):
        if request.path != "/v1/messages":
            return respond(404)
        text = request.json["messages"][0]["content"]
        return sse(anthropic_stream([*text], model="real"), chunk_sizes=[13])

    found = []

    def ask(client, text):
        turn = {**TURN, "messages": [{"role": "user", "content": text}]}
        with client.messages.stream(**turn) as stream:
            found.append(stream.get_final_text() == text)

    async with through("ollama", otherwise=own) as b, anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(in_thread, b.running, partial(ask, text=f"number {number}"))
    assert found == [True] * 12
