"""Apple's own Python sources over a stand-in for their library: the same requests, for real."""

import asyncio
import gc
import json
import sys

import anyio
import pytest
from apple_sources import Library, built

from plugway import MessagesRequest
from plugway.testing import BackendContract, build_plugin, gateway, request_body
from plugway_apple_intelligence import AppleIntelligence, _sdk
from plugway_apple_intelligence._plan import plan_of
from plugway_error_normalizer import ErrorNormalizer

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.real]

__all__ = ["built"]

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["C", "F"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "at": {"type": "object", "properties": {"hours": {"type": "array", "items": {"type": "number"}, "maxItems": 3}}},
            "free": {"type": "object"},
        },
        "required": ["city"],
    },
}  # fmt: skip
CLOCK = {"name": "clock", "input_schema": {"type": "object"}}


@pytest.fixture
def apple(built, monkeypatch):
    monkeypatch.syspath_prepend(str(built))
    monkeypatch.setattr(_sdk, "system", lambda: ("macOS", "26.4"))
    yield Library(built)
    for name in [name for name in sys.modules if name.partition(".")[0] == "apple_fm_sdk"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def model(apple):
    return apple


class TestContract(BackendContract):
    plugin = AppleIntelligence
    options = {"run": "in-process"}
    model = "system"
    pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.usefixtures("apple")]

    async def test_an_upstream_that_is_not_there_is_a_backend_error(self):
        """There is no upstream."""
        async with self.backend() as backend:
            assert not hasattr(backend, "upstream")


def stack():
    made = build_plugin(AppleIntelligence, "apple", run="in-process")
    return [build_plugin(ErrorNormalizer, "errors"), made]


def body(text="hello", **fields):
    return request_body(text, **{"model": "apple/system", **fields})


async def answer(text="hello", **fields):
    async with gateway(stack()) as running:
        return await running.post(body(text, **fields))


async def test_snapshots_become_deltas_and_counts_are_exact():
    async with gateway(stack()) as running:
        events = await running.stream("one two three", model="apple/system")
        counted = await running.post(body("one two three"), "/v1/messages/count_tokens")
    texts = [d["delta"]["text"] for name, d in events if name == "content_block_delta"]
    assert texts == ["You", " said:", " one", " two", " three"]
    assert events[0][1]["message"]["usage"]["input_tokens"] == counted.json()["input_tokens"]
    assert events[-2][1]["usage"]["output_tokens"] == 5


async def test_a_call_comes_out_of_the_session_and_the_task_is_cancelled_first(model):
    before = model.cancelled, model.released_before_cancel
    arguments = {"city": "Bonn", "free": json.dumps({"a": 1})}
    text = f"x\nfake: call get_weather {json.dumps(arguments)}\nfake: call clock {{}}"
    message = (await answer(text, tools=[WEATHER, CLOCK])).json()
    calls = {block["name"]: block["input"] for block in message["content"]}
    assert calls == {"get_weather": {"city": "Bonn", "free": {"a": 1}}, "clock": {}}
    assert message["stop_reason"] == "tool_use"
    assert (model.cancelled, model.released_before_cancel) == (before[0] + 1, before[1])


async def test_a_result_continues_from_the_transcript():
    turns = [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "noon"}]},
    ]  # fmt: skip
    fields = body(messages=turns, tools=[CLOCK], system="Be terse.")
    plan = plan_of(MessagesRequest(json.dumps(fields).encode()).body)
    fm = _sdk.load()
    made = _sdk.model_of(fm, "default")
    session = await _sdk.session_of(fm, made, plan, [])
    entries = (await session.transcript.to_dict())["transcript"]["entries"]
    assert [entry["role"] for entry in entries] == ["instructions", "user", "response", "tool"]
    assert entries[2]["toolCalls"][0]["id"] == entries[3]["toolCallID"]
    message = (await answer(messages=turns, tools=[CLOCK])).json()
    assert message["content"][0]["text"] == "You said: Go on with the results of the tools."


async def test_a_tools_schema_reaches_apples_library():
    fm = _sdk.load()
    plan = plan_of(body(tools=[WEATHER]))

    def taken(name, arguments):
        raise AssertionError

    tools = _sdk.tools_of(fm, plan, taken)
    session = await _sdk.session_of(fm, _sdk.model_of(fm, "permissive"), plan, tools)
    (header,) = (await session.transcript.to_dict())["transcript"]["entries"]
    schema = header["tools"][0]["function"]["parameters"]
    fields = schema["properties"]
    assert (fields["city"]["type"], fields["city"]["optional"]) == ("string", False)
    assert fields["unit"]["enum"] == ["C", "F"]
    assert fields["days"] == {
        "type": "integer", "description": "", "minimum": 1, "maximum": 9, "optional": True,
    }  # fmt: skip
    assert fields["at"]["type"] == "get_weather_at"
    assert fields["free"]["type"] == "string"
    hours = schema["$defs"]["get_weather_at"]["hours"]
    assert (hours["type"], hours["maxItems"]) == ("array<number>", 3)


async def test_a_forced_call_and_a_format_are_generated():
    choice = {"type": "tool", "name": "get_weather"}
    text = 'x\nfake: json {"city": "Bonn"}'
    message = (await answer(text, tools=[WEATHER, CLOCK], tool_choice=choice)).json()
    assert message["content"][0]["input"] == {"city": "Bonn"}
    schema = WEATHER["input_schema"]
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    message = (await answer(text, output_config=wanted)).json()
    assert json.loads(message["content"][0]["text"]) == {"city": "Bonn"}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (1, 400, "prompt is too long"),
        (2, 529, "downloaded"),
        (3, 400, "guardrails"),
        (5, 400, "language"),
        (7, 429, "rate"),
        (8, 529, "busy"),
        (255, 502, "without a known reason"),
    ],
)
async def test_a_status_of_the_library_is_the_clients_error(code, status, words, stream):
    if stream:
        async with gateway(stack()) as running:
            fields = {"tools": [CLOCK], "stream": True}  # with tools nothing is sent before
            response = await running.post(body(f"x\nfake: error {code}", **fields))
    else:
        response = await answer(f"x\nfake: error {code}")
    assert response.status_code == status, response.text
    assert words in response.json()["error"]["message"]


async def test_a_refusal_during_a_stream_ends_it():
    async with gateway(stack()) as running:
        events = await running.stream("x\nfake: error 9", model="apple/system")
    assert events[-2][1]["delta"]["stop_reason"] == "refusal"


@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("FAKE_FM_UNAVAILABLE", "0", 503, "System Settings > Apple Intelligence & Siri"),
        ("FAKE_FM_UNAVAILABLE", "1", 503, "Apple silicon"),
        ("FAKE_FM_UNAVAILABLE", "2", 529, "downloaded"),
        ("FAKE_FM_WINDOW", "2", 400, "> 2 maximum"),
    ],
)
async def test_a_mac_without_the_model_says_why(monkeypatch, name, value, status, words):
    monkeypatch.setenv(name, value)
    response = await answer()
    assert response.status_code == status
    assert words in response.json()["error"]["message"]


async def test_an_older_macos_does_not_count(monkeypatch):
    monkeypatch.setenv("FAKE_FM_NO_COUNTS", "1")
    assert (await answer()).status_code == 200


async def test_a_client_that_leaves_cancels_the_native_task(model):
    cancelled, waiting = model.cancelled, model.waiting
    async with gateway(stack()) as running:
        async with anyio.create_task_group() as group:
            group.start_soon(running.post, body("x\nfake: wait"))
            await until(lambda: model.waiting > waiting)
            group.cancel_scope.cancel()
        await until(lambda: model.cancelled > cancelled)
        assert (await running.post(body())).status_code == 200


async def test_a_stream_is_never_broken_off_because_the_library_would_call_freed_memory(model):
    text = " ".join("x" * 3000)
    async with gateway(stack()) as running:
        fields = body(text, stream=True)
        async with running.client.stream("POST", "/v1/messages", json=fields) as response:
            await anext(response.aiter_raw())
        assert (await running.post(body())).status_code == 200
    assert model.broken_streams == 0


async def until(holds):
    with anyio.fail_after(10):
        while not holds():
            await asyncio.sleep(0)


async def test_tools_are_given_back(model):
    for _ in range(70):
        _sdk.tools_of(_sdk.load(), plan_of(body(tools=[CLOCK])), lambda name, arguments: None)
    gc.collect()
    assert model.live_tools <= 66
