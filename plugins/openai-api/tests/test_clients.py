"""The real `openai` SDK through the gateway: what it asks arrives, what comes back it understands."""

import anyio
import anyio.to_thread
import openai
import orjson
import pytest
from pydantic import BaseModel

from plugway.testing import (
    Hold,
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MODEL = "claude/m"
USER = [{"role": "user", "content": "hi"}]
LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
FLAT = {"type": "function", "name": "look", "parameters": LOOK["function"]["parameters"]}
CALLS = [("look", {"at": "a"}), ("look", {"at": "b"}), ("look", {})]
USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 7,
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4},
}


# ── Chat ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_answers(claude, stream):
    claude.upstream.script(answer(stream, ["Hel", "lo."], thinking="hm", usage=USAGE))
    said, thought, finish, usage = await chat(claude.client, stream)
    assert (said, thought, finish) == ("Hello.", "hm", "stop")
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (42, 9, 51)
    assert usage.prompt_tokens_details.cached_tokens == 30
    assert usage.prompt_tokens_details.cache_write_tokens == 7
    assert usage.completion_tokens_details.reasoning_tokens == 4


def answer(stream, text="Hello.", **fields):
    if stream:
        return sse(anthropic_stream(text, **fields))
    return respond(200, anthropic_message("".join(text), **fields))


async def chat(client, stream, **fields):
    """Text, thinking, finish reason and usage of one answer."""
    asked = {"model": MODEL, "messages": USER, **fields}
    if not stream:
        found = await client.chat.completions.create(**asked)
        (choice,) = found.choices
        message = choice.message
        thought = getattr(message, "reasoning_content", "")
        return message.content, thought, choice.finish_reason, found.usage
    text = thought = ""
    finish = usage = None
    options = {"include_usage": True}
    pieces = await client.chat.completions.create(**asked, stream=True, stream_options=options)
    async for chunk in pieces:
        assert usage is None
        usage = chunk.usage
        for choice in chunk.choices:
            assert finish is None
            text += choice.delta.content or ""
            thought += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason
    return text, thought, finish, usage


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
    ],
)
async def test_why_chat_ended(claude, reason, finish, stream):
    claude.upstream.script(answer(stream, stop_reason=reason))
    assert (await chat(claude.client, stream))[2] == finish


@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_of_tools_and_their_results(claude, stream):
    claude.upstream.script(answer(stream, "I look.", tool_calls=CALLS))
    if stream:
        asked = claude.client.chat.completions.stream(model=MODEL, messages=USER, tools=[LOOK])
        async with asked as events:
            first = await events.get_final_completion()
    else:
        first = await claude.client.chat.completions.create(
            model=MODEL, messages=USER, tools=[LOOK]
        )
    (choice,) = first.choices
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert [orjson.loads(call.function.arguments) for call in calls] == [
        {"at": "a"},
        {"at": "b"},
        {},
    ]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "seen"} for call in calls]
    said = choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    await claude.client.chat.completions.create(
        model=MODEL, messages=[*USER, said, *results], tools=[LOOK]
    )
    _, assistant, user = claude.asked["messages"]
    ids = [block["id"] for block in assistant["content"][1:]]
    assert [block["input"] for block in assistant["content"][1:]] == [dict(c[1]) for c in CALLS]
    assert [block["tool_use_id"] for block in user["content"]] == ids


async def test_a_stream_without_usage_has_none_and_ends_with_its_mark(claude):
    claude.upstream.script(answer(True))
    body = {"model": MODEL, "messages": USER, "stream": True}
    response = await claude.gate.post(body, "/v1/chat/completions")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert b'"usage"' not in response.content
    assert response.content.endswith(b"data: [DONE]\n\n")
    assert response.content.count(b"[DONE]") == 1


async def test_a_custom_tool_is_called_with_text(claude):
    calls = [("sql", {"input": "SELECT 1"})]
    tool = {"type": "custom", "custom": {"name": "sql", "description": "d"}}
    claude.upstream.script(answer(False, tool_calls=calls), answer(True, tool_calls=calls))
    found = await claude.client.chat.completions.create(model=MODEL, messages=USER, tools=[tool])
    (call,) = found.choices[0].message.tool_calls
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "sql", "SELECT 1")
    body = {"model": MODEL, "messages": USER, "tools": [tool], "stream": True}
    streamed = await claude.gate.post(body, "/v1/chat/completions")
    assert b'"custom":{"input":"SELECT 1"}' in streamed.content


class Answer(BaseModel):
    city: str
    degrees: int


async def test_structured_output(claude):
    text = '{"city": "Ulm", "degrees": 9}'
    claude.upstream.script(answer(False, text), answer(False, text))
    found = await claude.client.chat.completions.parse(
        model=MODEL, messages=USER, response_format=Answer
    )
    assert found.choices[0].message.parsed == Answer(city="Ulm", degrees=9)
    schema = claude.asked["output_config"]["format"]["schema"]
    assert schema["required"] == ["city", "degrees"]
    response = await claude.client.responses.parse(model=MODEL, input="hi", text_format=Answer)
    assert response.output_parsed == Answer(city="Ulm", degrees=9)
    assert claude.asked["output_config"]["format"]["schema"] == schema


async def test_the_sdk_that_waits(claude):
    claude.upstream.script(answer(False), answer(True))

    def ask():
        options = {"base_url": f"{claude.gate.url}/v1", "api_key": claude.gate.token}
        with openai.OpenAI(**options, max_retries=0) as client:
            whole = client.chat.completions.create(model=MODEL, messages=USER)
            with client.responses.stream(model=MODEL, input="hi") as events:
                return whole.choices[0].message.content, events.get_final_response().output_text

    assert await anyio.to_thread.run_sync(ask) == ("Hello.", "Hello.")


# ── Responses ────────────────────────────────────────────────────────────────────────────────────


async def respond_to(client, stream, **fields):
    asked = {"model": MODEL, "input": "hi", **fields}
    if not stream:
        return await client.responses.create(**asked), []
    async with client.responses.stream(**asked) as events:
        seen = [item async for item in events]
        return await events.get_final_response(), seen


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_answers(claude, stream):
    fields = {"thinking": "hm", "usage": USAGE, "tool_calls": CALLS}
    claude.upstream.script(answer(stream, ["Hel", "lo."], **fields))
    found, _ = await respond_to(claude.client, stream, tools=[FLAT])
    assert (found.status, found.output_text, found.store) == ("completed", "Hello.", False)
    kinds = [item.type for item in found.output]
    assert kinds == ["reasoning", "message", *["function_call"] * 3]
    assert found.output[0].summary[0].text == "hm"
    arguments = [orjson.loads(item.arguments) for item in found.output[2:]]
    assert arguments == [dict(call[1]) for call in CALLS]
    assert len({item.id for item in found.output}) == 5
    usage = found.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (42, 9, 51)
    assert usage.input_tokens_details.cached_tokens == 30
    assert usage.output_tokens_details.reasoning_tokens == 4


async def test_the_events_of_responses_come_as_documented(claude):
    claude.upstream.script(answer(True, ["Hel", "lo."], thinking="hm", tool_calls=CALLS[:1]))
    body = {"model": MODEL, "input": "hi", "stream": True, "tools": [FLAT]}
    response = await claude.gate.post(body, "/v1/responses")
    records = [record.split(b"\n") for record in response.content.split(b"\n\n") if record]
    events = [orjson.loads(data.removeprefix(b"data: ")) for _, data in records]
    assert [name.removeprefix(b"event: ").decode() for name, _ in records] == [
        item["type"] for item in events
    ]
    assert [item["type"].removeprefix("response.") for item in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        *["function_call_arguments.delta"] * count(events, "arguments.delta"),
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [item["sequence_number"] for item in events] == list(range(len(events)))
    added = [item["output_index"] for item in events if item["type"].endswith("item.added")]
    assert added == [0, 1, 2]
    done = [item["item"] for item in events if item["type"].endswith("item.done")]
    assert events[-1]["response"]["output"] == done
    assert b"[DONE]" not in response.content


def count(events, ending):
    return sum(item["type"].endswith(ending) for item in events)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reason", "why"), [("max_tokens", "max_output_tokens"), ("refusal", "content_filter")]
)
async def test_why_a_response_is_incomplete(claude, reason, why, stream):
    claude.upstream.script(answer(stream, stop_reason=reason))
    response = await claude.gate.post(
        {"model": MODEL, "input": "hi", "stream": stream}, "/v1/responses"
    )
    if stream:
        last = response.content.strip().split(b"\n\n")[-1].split(b"\ndata: ")
        assert last[0] == b"event: response.incomplete"
        found = orjson.loads(last[1])["response"]
    else:
        found = response.json()
    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": why}
    assert found["output"][-1]["status"] == "incomplete"


async def test_thinking_comes_back_as_its_maker_signed_it(claude):
    claude.upstream.script(answer(False, "", thinking="hm", tool_calls=CALLS[:1]))
    first, _ = await respond_to(claude.client, False, tools=[FLAT])
    replayed = [item.model_dump(exclude_none=True) for item in first.output]
    result = {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "x"}
    user = {"role": "user", "content": "hi"}
    await claude.client.responses.create(model=MODEL, input=[user, *replayed, result])
    assistant = claude.asked["messages"][1]["content"]
    original = anthropic_message("", thinking="hm")["content"][0]
    assert assistant[0] == original
    assert assistant[1]["type"] == "tool_use"
    assert claude.asked["messages"][2]["content"][0]["tool_use_id"] == assistant[1]["id"]


async def test_the_request_is_echoed(claude):
    asked = {"instructions": "Be brief.", "metadata": {"a": "b"}, "temperature": 0.5}
    found, _ = await respond_to(claude.client, False, tools=[FLAT], **asked)
    assert (found.instructions, found.metadata, found.temperature) == (
        "Be brief.",
        {"a": "b"},
        0.5,
    )
    assert found.tools[0].name == "look"


async def test_tools_in_a_namespace_are_called_by_their_own_name(claude):
    tool = {"type": "namespace", "name": "git", "description": "d", "tools": [FLAT]}
    claude.upstream.script(answer(False, "", tool_calls=[("git__look", {"at": "x"})]))
    found, _ = await respond_to(claude.client, False, tools=[tool])
    assert (found.output[0].namespace, found.output[0].name) == ("git", "look")


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


async def test_pictures_reach_the_model(claude):
    url = "data:image/png;base64,QUJD"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    await chat(claude.client, False, messages=[{"role": "user", "content": content}])
    source = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    assert claude.asked["messages"][0]["content"] == [{"type": "image", "source": source}]


async def test_the_receipt_says_what_was_lost(claude):
    raw = claude.client.chat.completions.with_raw_response
    response = await raw.create(model=MODEL, messages=USER, seed=1, max_tokens=9)
    assert "changes=1; by=openai-chat" in response.headers["plugway-receipt"]
    assert response.headers["x-request-id"].startswith("req_")


async def test_without_a_limit_the_models_own_is_taken(serving):
    listed = [{"id": "small", "max_output_tokens": 512}, "big"]
    async with ScriptedUpstream() as upstream:
        backend = build_plugin(AnthropicCompatible, "claude", base_url=upstream.url, models=listed)
        async with serving(backend, upstream=upstream) as running:
            await chat(running.client, False, model="claude/small")
            small = running.asked["max_tokens"]
            await chat(running.client, False, model="claude/big")
            big = running.asked["max_tokens"]
            await chat(running.client, False, model="claude/small", max_tokens=32_000)
            said = running.asked["max_tokens"]
    assert (small, big, said) == (512, 32_000, 32_000)


@pytest.mark.parametrize("path", ["chat", "responses"])
async def test_a_client_that_stops_reading_stops_the_model(claude, path):
    events = anthropic_stream(["one ", "two "])
    claude.upstream.script(sse([*events[:4], Hold()]))
    if path == "chat":
        stream = await claude.client.chat.completions.create(
            model=MODEL, messages=USER, stream=True
        )
    else:
        stream = await claude.client.responses.create(model=MODEL, input="hi", stream=True)
    async for _ in stream:
        break
    await stream.close()
    with anyio.fail_after(5):
        await claude.upstream.requests[0].left.wait()


@pytest.mark.parametrize("path", ["chat", "responses"])
async def test_a_stream_that_breaks_off_does_not_look_complete(claude, path):
    events = anthropic_stream(["one ", "two "])
    claude.upstream.script(sse(events[:4], end=b""))
    with pytest.raises(openai.APIConnectionError):
        if path == "chat":
            await chat(claude.client, True)
        else:
            await respond_to(claude.client, True)


async def test_n_choices_are_refused_before_anything_is_sent(claude):
    with pytest.raises(openai.BadRequestError) as refused:
        await claude.client.chat.completions.create(model=MODEL, messages=USER, n=2)
    assert (refused.value.param, refused.value.code) == ("n", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as refused:
        await claude.client.responses.create(model=MODEL, input="hi", previous_response_id="resp_1")
    assert refused.value.code == "previous_response_not_found"
    assert claude.upstream.requests == []


async def test_the_doubled_and_the_missing_v1_are_forgiven(echo, client_of):
    for base in ("", "/v1/v1"):
        async with client_of(echo.gate, base_url=echo.gate.url + base) as client:
            found = await client.chat.completions.create(model="echo/echo", messages=USER)
            assert "hi" in found.choices[0].message.content
            assert (await client.models.list()).data[0].id == "anthropic/echo/echo"
