"""OpenAI's API on a scripted upstream: the real gateway, the real SDK, and every refusal."""

import re

import anthropic
import anyio
import httpx2
import orjson
import pytest
from openai_answers import (
    CHAT_STREAM,
    answer_of,
    answering,
    call,
    error,
    message,
    reasoning,
    response,
    scripted,
    stream,
    streamed,
)
from pydantic import ValidationError

from plugway import Attempt, MessagesRequest, Original, StreamInterrupted
from plugway.testing import Cut, Hold, ScriptedUpstream, build_plugin, gateway, respond, sse
from plugway_anthropic import Anthropic
from plugway_error_normalizer import ErrorNormalizer
from plugway_openai import OpenAI
from plugway_openai_wire.testing import chat_message
from plugway_router import Router
from plugway_thinking import Thinking

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
KEY = "canary-of-the-key"
TOOLS = [
    {
        "name": "get_weather",
        "description": "Weather of a city.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]


@pytest.fixture
async def server():
    async with ScriptedUpstream(otherwise=scripted(response())) as found:
        yield found


def plugin(server, **options):
    return build_plugin(OpenAI, "cloud", base_url=server.url, api_key=KEY, **options)


def stack(server, **options):
    return [build_plugin(ErrorNormalizer, "error-normalizer"), plugin(server, **options)]


def sdk(running):
    return anthropic.AsyncAnthropic(base_url=running.url, api_key=running.token, max_retries=0)


def test_mistakes_in_the_options_are_named():
    for options, reason in [
        ({}, "api_key"),
        ({"api_key": KEY, "base_url": "http://api.example.com/v1"}, "clear text"),
        ({"api_key": KEY, "base_url": "https://a.example/v1/responses"}, "not end in `/responses`"),
        ({"api_key": KEY, "organization": "a b"}, "org-"),
        ({"api_key": KEY, "api": "completions"}, "responses"),
    ]:
        with pytest.raises(ValidationError, match=reason) as caught:
            build_plugin(OpenAI, "cloud", **options)
        assert KEY not in str(caught.value)


def test_the_address_and_the_zone_are_openais_unless_set():
    made = build_plugin(OpenAI, "cloud", api_key=KEY)
    assert made.backend.upstream.base_url == "https://api.openai.com/v1"
    assert made.backend.zone == "openai"
    other = build_plugin(OpenAI, "cloud", api_key=KEY, base_url="https://eu.api.example.com/v1/")
    assert other.backend.zone == "eu.api.example.com"
    here = build_plugin(OpenAI, "cloud", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    assert here.backend.zone == "local"
    assert build_plugin(OpenAI, "cloud", api_key=KEY, zone="openai").backend.zone == "openai"


async def test_key_and_account_go_there_and_the_gateways_token_does_not(server):
    made = plugin(server, organization="org-1", project="proj_1")
    async with gateway([made]) as running:
        await running.ask("hello", model="gpt-5")
        token = running.token
    (asked,) = server.requests
    assert (asked.path, asked.header("authorization")) == ("/v1/responses", f"Bearer {KEY}")
    assert (asked.header("openai-organization"), asked.header("openai-project")) == (
        "org-1",
        "proj_1",
    )
    assert asked.header("user-agent") == "plugway"
    assert token not in str(asked.headers)
    assert asked.json["store"] is False


@pytest.mark.parametrize("stream", [True, False])
async def test_the_sdk_makes_a_tool_round_trip(server, stream):
    thought = reasoning("Look it up.")
    wanted = call("get_weather", '{"city":"Paris"}', "call_1")
    first, second = answer_of(thought, wanted), answer_of(message("Sunny."))
    script = streamed if stream else (lambda answer: respond(200, answer))
    server.script(script(first), script(second))
    turns = [{"role": "user", "content": "Weather in Paris?"}]
    known = {"model": "gpt-5", "max_tokens": 500, "tools": TOOLS}
    async with (
        gateway([build_plugin(Thinking, "thinking"), *stack(server)]) as running,
        sdk(running) as client,
    ):

        async def ask():
            if not stream:
                return await client.messages.create(messages=turns, **known)
            async with client.messages.stream(messages=turns, **known) as opened:
                return await opened.get_final_message()

        asked = await ask()
        assert asked.stop_reason == "tool_use"
        thinking, use = asked.content
        assert (thinking.thinking, use.input) == ("Look it up.", {"city": "Paris"})
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
        turns += [
            {"role": "assistant", "content": [block.to_dict() for block in asked.content]},
            {"role": "user", "content": [result]},
        ]
        told = await ask()
    assert told.content[0].text == "Sunny."
    assert (told.usage.input_tokens, told.usage.cache_read_input_tokens) == (30, 60)
    sent = server.requests[1].json["input"]
    assert sent[1] == thought
    assert sent[3] == {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}


async def test_chat_is_spoken_where_it_is_asked_for():
    async with (
        answering(lambda _: CHAT_STREAM) as server,
        gateway([plugin(server, api="chat")]) as running,
    ):
        events = await running.stream("hello", model="gpt-4o")
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].json["max_completion_tokens"]
    assert events[-1][0] == "message_stop"


@pytest.mark.parametrize(
    ("model", "tools", "effort"),
    [
        ("gpt-5.6-luna", True, "none"),
        ("gpt-6", True, "none"),
        ("gpt-5.6-luna", False, "high"),
        ("gpt-5.2", True, "high"),
    ],
)
async def test_newer_models_do_not_think_beside_tools_over_chat(server, model, tools, effort):
    server.script(respond(200, chat_message("Hello.")))
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    tool = {"name": "Read", "description": "reads", "input_schema": schema}
    more = {"tools": [tool]} if tools else {}
    async with gateway([plugin(server, api="chat")]) as running:
        body = {"model": f"cloud/{model}", "max_tokens": 99, "thinking": {"type": "adaptive"}}
        body |= {
            "messages": [{"role": "user", "content": "hi"}],
            "output_config": {"effort": "high"},
        }
        reply = await running.client.post("/v1/messages", json={**body, **more})
    assert reply.status_code == 200, reply.text
    assert server.requests[-1].json["reasoning_effort"] == effort


async def test_models_that_answer_in_text_are_listed(server):
    made = plugin(server)
    async with made.backend:
        found = {info.id: info for info in await made.backend.models()}
    assert list(found) == ["gpt-5", "gpt-4o", "o3"]
    assert found["gpt-5"].context_tokens == 400_000
    assert "thinking" in found["o3"].capabilities
    assert "thinking" not in found["gpt-4o"].capabilities


@pytest.mark.parametrize(
    ("script", "status", "kind", "said"),
    [
        (
            error(401, f"Incorrect API key provided: {KEY}.", "invalid_api_key"),
            401,
            "authentication_error",
            "option `api_key` of `cloud`",
        ),
        (
            error(
                429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"
            ),
            429,
            "rate_limit_error",
            "used up",
        ),
        (
            error(429, "Rate limit reached for gpt-5", "rate_limit_exceeded", "tokens"),
            429,
            "rate_limit_error",
            "Rate limit reached",
        ),
        (
            error(404, "The model `gpt-9` does not exist", "model_not_found"),
            404,
            "not_found_error",
            "`cloud` does not have",
        ),
        (
            error(
                400,
                "Your input exceeds the context window of this model. Please adjust your input and "
                "try again.",
                "context_length_exceeded",
            ),
            400,
            "invalid_request_error",
            "prompt is too long: ",
        ),
        (
            error(
                400,
                "This model's maximum context length is 128000 tokens. However, your messages "
                "resulted in 150000 tokens.",
                "context_length_exceeded",
            ),
            400,
            "invalid_request_error",
            "prompt is too long: 150000 tokens > 128000 maximum",
        ),
        (error(503, "The engine is overloaded", type="server_error"), 529, "overloaded_error", ""),
        (respond(500, b"<html>oops</html>", {"content-type": "text/html"}), 500, "api_error", ""),
    ],
)
async def test_a_refusal_is_told_as_the_client_acts_on_it(server, script, status, kind, said):
    server.script(script)
    async with gateway(stack(server)) as running, sdk(running) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(
                model="gpt-5", max_tokens=100, messages=[{"role": "user", "content": "x"}]
            )
    told = caught.value.body["error"]
    assert (caught.value.status_code, told["type"]) == (status, kind)
    assert said in told["message"]
    assert KEY not in told["message"]
    permanent = status == 401 or "used up" in said
    assert (caught.value.response.headers.get("x-should-retry") == "false") is (
        permanent or status == 404
    )


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (
            {
                "type": "response.failed",
                "response": response(
                    status="failed",
                    error={
                        "code": "context_length_exceeded",
                        "message": "Your input exceeds the context window of this model.",
                    },
                ),
            },
            400,
            "prompt is too long",
        ),
        ({"type": "error", "code": "insufficient_quota", "message": "no"}, 429, "used up"),
        ({"type": "error", "code": "server_error", "message": "Oops"}, 500, "Oops"),
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "try again in 3s"},
            429,
            "try again in 3s",
        ),
    ],
)
async def test_a_failure_inside_the_stream_is_an_error_before_the_answer_begins(
    server, failure, status, said
):
    opening = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
    async with gateway(stack(server)) as running:
        for stream in (True, False):
            events = [(data["type"], data) for data in (opening, failure)]
            whole = respond(200, response(status="failed", error=_error_of(failure)))
            server.script(sse(events) if stream else whole)
            body = {"model": "gpt-5", "max_tokens": 9, "stream": stream}
            told = await running.post({**body, "messages": [{"role": "user", "content": "x"}]})
            assert told.status_code == status
            assert said in told.json()["error"]["message"]
            if "3s" in said:
                assert told.headers["retry-after"] == "3"


def _error_of(failure):
    nested = failure.get("response", {}).get("error")
    return nested or {"code": failure["code"], "message": failure["message"]}


async def test_refused_incomplete_and_filtered_answers_keep_their_reason(server):
    cases = {
        "refusal": response(message({"type": "refusal", "refusal": "No."})),
        "max_tokens": response(
            message("Half a"),
            status="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
    }
    async with gateway(stack(server)) as running:
        for reason, answer in cases.items():
            server.script(streamed(answer), respond(200, answer))
            events = await running.stream("x", model="gpt-5")
            deltas = [data for name, data in events if name == "message_delta"]
            assert deltas[0]["delta"]["stop_reason"] == reason
            assert (await running.ask("x", model="gpt-5"))["stop_reason"] == reason


@pytest.mark.parametrize("how", ["stops", "fails"])
async def test_a_stream_that_breaks_after_content_is_cut_and_not_ended(server, how):
    events = [(data["type"], data) for data in stream(response(message("Hello there.")))][:8]
    failed = {"type": "error", "code": "server_error", "message": "Oops"}
    server.script(sse(events, end=Cut()) if how == "stops" else sse([*events, ("error", failed)]))
    told = b""
    async with gateway(stack(server)) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            async with running.client.stream(
                "POST", "/v1/messages", json={**_body(), "stream": True}
            ) as opened:
                async for chunk in opened.aiter_bytes():
                    told += chunk
    assert b"Hel" in told
    assert b"message_delta" not in told
    assert b"event: error" not in told


async def test_a_client_that_leaves_stops_the_work(server):
    whole = streamed(response(message("Hello there.")))
    server.script([*whole[:8], Hold()])
    made = plugin(server)
    async with gateway([made]) as running:
        async with running.client.stream(
            "POST",
            "/v1/messages",
            json={**_body(), "stream": True},
        ) as opened:
            await anext(opened.aiter_bytes())
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


async def test_the_answer_is_cut_at_a_stop_sequence_and_the_rest_not_waited_for(server):
    whole = streamed(response(message("One END two three four five")))
    server.script([*whole[:-3], Hold()])
    async with gateway([plugin(server)]) as running:
        events = await running.stream("x", model="gpt-5", stop_sequences=["END"])
    delta = next(data["delta"] for name, data in events if name == "message_delta")
    assert (delta["stop_reason"], delta["stop_sequence"]) == ("stop_sequence", "END")


async def test_what_a_refusal_teaches_is_used_at_once_and_from_then_on(server):
    refusal = error(
        400,
        "Unsupported parameter: 'safety_identifier' is not supported with this model.",
        "unsupported_parameter",
        param="safety_identifier",
    )
    server.script(refusal)
    fields = {"metadata": {"user_id": "u"}, "model": "gpt-new"}
    made = plugin(server)
    async with gateway([made]) as running:
        answered = await running.post({**_body(), **fields})
        await running.post({**_body(), **fields})
    assert answered.status_code == 200
    assert "by=cloud" in answered.headers["plugway-receipt"]
    sent = ["safety_identifier" in asked.json for asked in server.requests]
    assert sent == [True, False, False]
    made.backend.ledger.flush()


async def test_a_refusal_that_teaches_nothing_is_not_asked_again(server):
    server.script(error(400, "Invalid 'input[0]': something else"))
    async with gateway(stack(server)) as running:
        answered = await running.post(_body())
    assert (answered.status_code, len(server.requests)) == (400, 1)


@pytest.mark.lenient("responses.known_fields")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_of_the_same_api_is_passed_through_to_the_byte(server, stream):
    theirs = b'{ "model":"gpt-5" , "input":"hi","only_openai_knows":[1e2],"stream":%s}'
    raw = theirs % (b"true" if stream else b"false")
    request = MessagesRequest(
        orjson.dumps({**_body(), "stream": stream}),
        original=Original("openai-responses", "/v1/responses", raw),
    )
    made = plugin(server)
    attempt = Attempt(made.backend, "gpt-5")
    async with made.backend:
        reply = await made.backend.send(request, attempt)
        body = b"".join([chunk async for chunk in reply.chunks]) if stream else reply.body
        await reply.close()
    assert server.requests[0].body == raw
    assert reply.dialect == "openai-responses"
    assert b"response.completed" in body if stream else orjson.loads(body)["id"] == "resp_0a1"


async def test_a_passed_stream_that_stops_before_its_end_is_an_interruption(server):
    server.script([*streamed(response())[:6], b"0\r\n\r\n"])
    raw = b'{"model":"gpt-5","input":"hi","stream":true}'
    original = Original("openai-responses", "/v1/responses", raw)
    request = MessagesRequest(orjson.dumps({**_body(), "stream": True}), original=original)
    made = plugin(server)
    async with made.backend:
        reply = await made.backend.send(request, Attempt(made.backend, "gpt-5"))
        with pytest.raises(StreamInterrupted, match="before the reply was complete"):
            async for _ in reply.chunks:
                pass
        await reply.close()


async def test_explain_shows_what_would_be_sent_and_what_was_dropped(server):
    async with gateway([plugin(server)]) as running:
        explained = await running.post({**_body(), "top_k": 3}, "/v1/messages/explain")
    said = explained.json()
    assert said["upstream_request"]["body"]["input"][0]["role"] == "user"
    assert "drop top_k: the API has no such field" in [line["what"] for line in said["receipt"]]
    assert server.requests == []
    assert KEY not in explained.text


def _body():
    return {"model": "gpt-5", "max_tokens": 99, "messages": [{"role": "user", "content": "x"}]}


async def test_a_conversation_leaves_and_comes_back_with_its_reasoning(server):
    """To Anthropic's own API, which refuses what it has not signed, and back."""
    thought = reasoning("Look it up.")
    server.script(
        respond(200, answer_of(thought, call("get_weather", '{"city":"Paris"}', "call:1"))),
        respond(200, answer_of(message("Back again."))),
    )
    async with ScriptedUpstream() as anthropics:
        targets = {"gpt*": ["cloud/gpt-5"], "claude*": ["home/claude"]}
        plugins = [
            build_plugin(Thinking, "thinking"),
            build_plugin(Router, "router", models=targets, allow_zone_change=True),
            plugin(server),
            build_plugin(Anthropic, "home", base_url=anthropics.url, api_key="k"),
        ]
        turns = [{"role": "user", "content": "Weather in Paris?"}]
        async with gateway(plugins) as running:
            for model in ("gpt-5", "claude-x", "gpt-5"):
                told = (await running.post({**_body(), "model": model, "messages": turns})).json()
                turns.append({"role": "assistant", "content": told["content"]})
                results = [
                    {"type": "tool_result", "tool_use_id": block["id"], "content": "sunny"}
                    for block in told["content"]
                    if block["type"] == "tool_use"
                ]
                turns.append({"role": "user", "content": results or "And then?"})
    (elsewhere,) = [asked.json["messages"] for asked in anthropics.requests]
    assert [block["type"] for block in elsewhere[1]["content"]] == ["tool_use"]
    assert re.fullmatch("[a-zA-Z0-9_-]+", elsewhere[1]["content"][0]["id"])
    again = server.requests[1].json["input"]
    assert again[1] == thought
    assert [item["call_id"] for item in again if "call_id" in item] == ["call:1", "call:1"]
