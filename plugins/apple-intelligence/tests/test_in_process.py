"""Apple's model in process: sessions, replies, tools, limits and errors."""

import asyncio
import json

import anyio
import pytest
from apple_fake import Reason, fake

from plugway.testing import build_plugin, gateway, request_body
from plugway_apple_intelligence import AppleIntelligence, _sdk
from plugway_error_normalizer import ErrorNormalizer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

__all__ = ["fake"]

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "extra": {"type": "object"}},
        "required": ["city"],
    },
}
CLOCK = {"name": "clock", "description": "The time", "input_schema": {"type": "object"}}


def stack(**options):
    made = build_plugin(AppleIntelligence, "apple", run="in-process", **options)
    return [build_plugin(ErrorNormalizer, "errors"), made]


def body(text="hello", **fields):
    return request_body(text, **{"model": "apple/system", **fields})


async def answer(fields, **options):
    async with gateway(stack(**options)) as running:
        return await running.post(fields)


def deltas(events):
    return [d["delta"]["text"] for name, d in events if name == "content_block_delta"]


async def refusal(fields, status, **options):
    response = await answer(fields, **options)
    assert response.status_code == status, response.text
    return response.json()["error"]["message"], response.headers


# ── replies ──────────────────────────────────────────────────────────────────────────────────


async def test_snapshots_become_deltas(fake):
    async with gateway(stack()) as running:
        events = await running.stream("hello there", model="apple/system")
    assert deltas(events) == ["Hello", " there", "."]
    assert events[-2][1]["delta"]["stop_reason"] == "end_turn"


async def test_counts_are_those_of_the_sdk(fake):
    async with gateway(stack()) as running:
        message = await running.ask("one two three", model="apple/system")
        counted = await running.post(body("one two three"), "/v1/messages/count_tokens")
    assert message["usage"]["input_tokens"] == counted.json()["input_tokens"] > 3
    assert message["usage"]["output_tokens"] == 2


async def test_a_prompt_that_is_too_long_is_counted_and_waits_for_no_turn(fake):
    fake.window = 40
    fake.gate.clear()
    async with gateway(stack()) as running, anyio.create_task_group() as group:
        group.start_soon(running.post, body())
        while fake.running == 0:
            await asyncio.sleep(0)
        text = " ".join("x" * 60)
        counted = await running.post(body(text), "/v1/messages/count_tokens")
        fake.gate.set()
    assert counted.json()["input_tokens"] > 60


async def test_a_mac_that_cannot_count_still_answers(fake):
    fake.counts = False
    message = (await answer(body())).json()
    assert message["content"] == [{"type": "text", "text": "Hello there."}]
    assert message["usage"]["input_tokens"] > 0


async def test_the_system_prompt_and_the_sampling_reach_the_session(fake):
    response = await answer(body(system="Be terse.", temperature=0.3, max_tokens=20, top_k=4))
    assert response.status_code == 200
    (session,) = fake.sessions
    assert session.transcript.entries[0]["contents"][0]["text"] == "Be terse."
    assert (session.options[0].temperature, session.options[0].maximum_response_tokens) == (0.3, 20)


async def test_a_limit_larger_than_the_window_becomes_what_is_left(fake):
    await answer(body(max_tokens=32_000))
    assert 3000 < fake.sessions[0].options[0].maximum_response_tokens < 4096


async def test_a_reply_as_long_as_its_limit_was_cut(fake):
    message = (await answer(body(max_tokens=2))).json()
    assert message["stop_reason"] == "max_tokens"


async def test_no_reply_is_wanted(fake):
    message = (await answer(body(max_tokens=0))).json()
    assert message["content"] == []
    assert fake.sessions[0].prompts == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stop_sequence_ends_the_reply(fake, stream):
    fake.answers = ["One.", " ST", "OP two"]
    async with gateway(stack()) as running:
        if stream:
            events = await running.stream("x", model="apple/system", stop_sequences=["STOP"])
            assert "".join(deltas(events)) == "One. "
            assert events[-2][1]["delta"]["stop_sequence"] == "STOP"
        else:
            message = await running.ask("x", model="apple/system", stop_sequences=["STOP"])
            assert message["content"][0]["text"] == "One. "
            assert message["stop_reason"] == "stop_sequence"


async def test_a_format_is_held_by_guided_generation(fake):
    fake.generated = [{"title": "Weather", "data": '{"a": [1]}'}]
    properties = {"title": {"type": "string"}, "data": {"type": "object"}}
    schema = {"type": "object", "properties": properties, "required": ["title"]}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    message = (await answer(body(output_config=wanted))).json()
    assert json.loads(message["content"][0]["text"]) == {"title": "Weather", "data": {"a": [1]}}
    sent = fake.sessions[0].schemas[0]
    assert (sent["title"], sent["x-order"]) == ("Reply", ["title", "data"])


async def test_a_conversation_continues_from_the_transcript(fake):
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "third"},
    ]
    await answer(body(messages=turns, system="Be terse."))
    session = fake.sessions[-1]
    roles = [(e["role"], e["contents"][0]["text"]) for e in session.transcript.entries]
    assert roles == [("instructions", "Be terse."), ("user", "first"), ("response", "second")]
    assert session.prompts == ["third"]


# ── tools ────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_inside_the_session_becomes_a_tool_use(fake):
    fake.calls = [("get_weather", {"city": "Bonn", "extra": '{"unit": "C"}'})]
    message = (await answer(body(tools=[WEATHER]))).json()
    (call,) = message["content"]
    assert (call["type"], call["name"]) == ("tool_use", "get_weather")
    assert call["input"] == {"city": "Bonn", "extra": {"unit": "C"}}
    assert message["stop_reason"] == "tool_use"
    assert fake.cancelled == 1


async def test_calls_of_one_round_come_together(fake):
    fake.calls = [("get_weather", {"city": "Bonn"}), ("clock", {})]
    message = (await answer(body(tools=[WEATHER, CLOCK]))).json()
    assert {block["name"] for block in message["content"]} == {"get_weather", "clock"}


async def test_only_one_call_where_the_client_wants_one(fake):
    fake.calls = [("get_weather", {"city": "Bonn"}), ("clock", {})]
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    message = (await answer(body(tools=[WEATHER, CLOCK], tool_choice=choice))).json()
    assert len(message["content"]) == 1


async def test_a_reply_without_a_call_is_text(fake):
    message = (await answer(body(tools=[WEATHER]))).json()
    assert message["content"] == [{"type": "text", "text": "Hello there."}]


async def test_the_result_of_a_tool_continues_the_session(fake):
    turns = [
        {"role": "user", "content": "Weather in Bonn?"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather",
             "input": {"city": "Bonn", "extra": {"unit": "C"}}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 C"},
        ]},
    ]  # fmt: skip
    await answer(body(messages=turns, tools=[WEATHER]))
    session = fake.sessions[-1]
    _, user, text, called, result = session.transcript.entries
    assert [e["role"] for e in (user, text, called, result)] == [
        "user", "response", "response", "tool",
    ]  # fmt: skip
    (call,) = called["toolCalls"]
    assert json.loads(call["arguments"]) == {"city": "Bonn", "extra": '{"unit":"C"}'}
    assert result["toolCallID"] == call["id"]
    assert result["toolName"] == "get_weather"
    assert result["contents"][0]["text"] == "12 C"
    assert session.prompts == ["Go on with the results of the tools."]
    assert [tool.name for tool in session.tools] == ["get_weather"]


async def test_a_forced_tool_is_called_by_guided_generation(fake):
    fake.generated = [{"city": "Bonn"}]
    choice = {"type": "tool", "name": "get_weather"}
    message = (await answer(body(tools=[WEATHER, CLOCK], tool_choice=choice))).json()
    assert message["content"][0]["name"] == "get_weather"
    assert message["content"][0]["input"] == {"city": "Bonn"}
    assert message["stop_reason"] == "tool_use"


async def test_any_tool_is_chosen_first(fake):
    fake.generated = [{"tool": "clock"}, {}]
    message = (await answer(body(tools=[WEATHER, CLOCK], tool_choice={"type": "any"}))).json()
    assert message["content"][0]["name"] == "clock"
    assert fake.sessions[-1].schemas[0]["properties"]["tool"]["enum"] == ["get_weather", "clock"]


async def test_no_tool_is_offered_where_none_may_be_called(fake):
    fake.calls = [("get_weather", {"city": "Bonn"})]
    message = (await answer(body(tools=[WEATHER], tool_choice={"type": "none"}))).json()
    assert message["content"][0]["type"] == "text"


async def test_an_invalid_choice_is_the_clients_error(fake):
    message, _ = await refusal(body(tools=[WEATHER], tool_choice={"type": "some"}), 400)
    assert "tool_choice.type" in message


# ── errors ───────────────────────────────────────────────────────────────────────────────────


async def test_a_prompt_that_is_too_long_makes_the_client_compact(fake):
    fake.window = 8
    message, _ = await refusal(body("a b c d e f g h i j k"), 400)
    assert message.startswith("prompt is too long: ")
    assert "> 8 maximum" in message
    assert fake.sessions[0].prompts == []


async def test_an_overflow_that_only_the_framework_sees_is_the_same_error(fake):
    fake.counts, fake.error = False, "ExceededContextWindowSizeError"
    message, _ = await refusal(body(), 400)
    assert message.startswith("prompt is too long: 4097 tokens > 4096 maximum")


async def test_a_window_that_fills_up_during_the_reply_ends_it(fake):
    fake.error, fake.error_after = "ExceededContextWindowSizeError", 2
    async with gateway(stack()) as running:
        events = await running.stream("hello", model="apple/system")
    assert events[-2][1]["delta"]["stop_reason"] == "model_context_window_exceeded"


async def test_what_apples_model_refuses_is_a_refusal(fake):
    fake.error = "RefusalError"
    message = (await answer(body())).json()
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"]["explanation"] == "Apple's model declined"


async def test_guardrails_during_a_reply_end_it_as_a_refusal(fake):
    fake.error, fake.error_after = "GuardrailViolationError", 1
    async with gateway(stack()) as running:
        events = await running.stream("hello", model="apple/system")
    assert deltas(events) == ["Hello"]
    assert events[-2][1]["delta"]["stop_reason"] == "refusal"


@pytest.mark.parametrize(
    ("name", "status", "words", "retry"),
    [
        ("GuardrailViolationError", 400, "guardrails blocked", "false"),
        ("UnsupportedLanguageOrLocaleError", 400, "language", "false"),
        ("UnsupportedGuideError", 400, "schema", "false"),
        ("InvalidGenerationSchemaError", 400, "schema", "false"),
        ("RateLimitedError", 429, "rate of requests", None),
        ("ConcurrentRequestsError", 529, "busy", None),
        ("AssetsUnavailableError", 529, "downloaded", None),
        ("DecodingFailureError", 502, "decode", None),
    ],
)
async def test_an_error_of_the_framework_says_what_to_do(fake, name, status, words, retry):
    fake.error = name
    message, headers = await refusal(body(), status)
    assert words in message
    assert headers.get("x-should-retry") == retry
    if status in (429, 529):
        assert int(headers["retry-after"]) >= 5


@pytest.mark.parametrize(
    ("reason", "status", "words"),
    [
        (Reason.APPLE_INTELLIGENCE_NOT_ENABLED, 503, "System Settings > Apple Intelligence & Siri"),
        (Reason.DEVICE_NOT_ELIGIBLE, 503, "Apple silicon"),
        (Reason.MODEL_NOT_READY, 529, "downloaded"),
        (Reason.UNKNOWN, 503, "not available"),
    ],
)
async def test_a_model_that_is_not_available_says_why(fake, reason, status, words):
    fake.unavailable = reason
    async with gateway(stack()) as running:
        response = await running.post(body())
        listed = (await running.client.get("/v1/models")).json()["data"]
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert (response.headers.get("x-should-retry") == "false") is (status == 503)
    assert words in listed[0]["notice"]


async def test_another_model_does_not_exist(fake):
    message, _ = await refusal(body(model="apple/pcc"), 404)
    assert "`apple` serves only `system`" in message


# ── where it runs ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (("Linux", "6.1"), "this machine runs Linux. Use `run: fm-serve`"),
        (("macOS", "15.7"), "needs macOS 26 or newer; this Mac has 15.7"),
        (("macOS", "26.1"), "pip install apple-fm-sdk==0.2.1"),
    ],
)
def test_a_machine_that_cannot_run_it_is_reported_by_check(monkeypatch, system, words):
    monkeypatch.setattr(_sdk, "system", lambda: system)
    ((place, reason),) = stack()[1].check({"apple": "local"})
    assert place == ("run",)
    assert words in reason


async def test_a_library_that_cannot_be_loaded_says_how_to_build_it(fake, monkeypatch):
    def broken(name):
        raise ImportError("no _ctypes_bindings")

    monkeypatch.setattr(_sdk, "import_module", broken)
    message, headers = await refusal(body(), 503)
    assert "Xcode 26" in message
    assert headers["x-should-retry"] == "false"


async def test_its_listing_says_what_it_is_for(fake):
    async with gateway(stack()) as running:
        listed = (await running.client.get("/v1/models")).json()["data"]
    assert "titles, small chats and side requests" in listed[0]["notice"]
    assert listed[0]["max_input_tokens"] == 4096


# ── at the same time ─────────────────────────────────────────────────────────────────────────


async def test_a_second_request_waits_for_its_turn(fake):
    fake.gate.clear()
    async with gateway(stack()) as running, anyio.create_task_group() as group:
        found = []

        async def one():
            found.append((await running.post(body())).status_code)

        group.start_soon(one)
        group.start_soon(one)
        while fake.running == 0:
            await asyncio.sleep(0)
        fake.gate.set()
    assert found == [200, 200]
    assert fake.most_running == 1


async def test_a_client_that_leaves_cancels_the_session(fake):
    fake.gate.clear()
    async with gateway(stack()) as running:
        with anyio.move_on_after(None) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(running.post, body())
                while fake.running == 0:
                    await asyncio.sleep(0)
                scope.cancel()
        while fake.cancelled == 0:
            await asyncio.sleep(0)
        fake.gate.set()
        assert (await running.post(body())).status_code == 200
