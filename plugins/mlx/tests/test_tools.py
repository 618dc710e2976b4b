"""Tool calls of models that know nothing, and of the demo model, on MLX."""

import json

import anyio
import jsonschema
import pytest
from running_engine import text_of

from plugway.testing import assert_valid_stream, build_plugin, gateway
from plugway_mlx import Mlx

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(500)]

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a place.",
    "input_schema": {
        "type": "object",
        "properties": {
            "place": {"type": "string", "maxLength": 12},
            "unit": {"enum": ["celsius", "kelvin"]},
            "days": {"type": "array", "items": {"type": "integer", "maximum": 9}, "maxItems": 3},
        },
        "required": ["place", "unit"],
        "additionalProperties": False,
    },
}
NOTHING = {"name": "now", "description": "", "input_schema": {"type": "object", "properties": {}}}
WRITE = {
    "name": "Write",
    "description": "Writes a file",
    "input_schema": {
        "type": "object",
        "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["file_path", "content"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module", params=["full", "sliding"])
async def e(request, run):
    async with run(request.param, seed=None, disk_cache_mib=0) as engine:
        yield engine


@pytest.fixture(scope="module")
async def demo(run):
    async with run("demo", held=True, disk_cache_mib=0) as engine:
        yield engine


def calls_of(message):
    return [block for block in message["content"] if block["type"] == "tool_use"]


@pytest.mark.parametrize("temperature", [0, 1])
async def test_a_forced_call_is_valid(e, temperature):
    for number in range(4):
        message = await e.say(
            f"go {number}",
            tools=[NOTHING, WEATHER],
            tool_choice={"type": "tool", "name": "get_weather"},
            temperature=temperature,
            max_tokens=400,
        )
        (call,) = calls_of(message)
        jsonschema.validate(call["input"], WEATHER["input_schema"])
        assert message["stop_reason"] == "tool_use"


async def test_any_makes_one_call_if_parallel_ones_are_disabled(e):
    choice = {"type": "any", "disable_parallel_tool_use": True}
    message = await e.say("go", tools=[WEATHER, NOTHING], tool_choice=choice, max_tokens=400)
    (call,) = calls_of(message)
    assert call["name"] in ("get_weather", "now")


async def test_any_may_make_calls_in_parallel_and_all_are_valid(e):
    choice = {"type": "any"}
    found = 0
    for number in range(8):
        message = await e.say(
            f"go {number}", tools=[NOTHING], tool_choice=choice, temperature=1, max_tokens=120
        )
        calls = calls_of(message)
        assert calls
        assert all(call["name"] == "now" for call in calls)
        found = max(found, len(calls))
    assert found > 1


async def test_none_makes_no_call(e):
    for temperature in (0, 1):
        message = await e.say(
            "go",
            tools=[WEATHER],
            tool_choice={"type": "none"},
            max_tokens=60,
            temperature=temperature,
        )
        assert not calls_of(message)


async def test_auto_constrains_from_the_moment_a_call_begins(e):
    prefill = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "Let me see.\n<tool_call>"},
    ]
    for temperature in (0, 1):
        fields = {"tools": [WEATHER], "max_tokens": 300, "temperature": temperature}
        call = calls_of(await e.say(prefill, **fields))[0]
        jsonschema.validate(call["input"], WEATHER["input_schema"])


async def test_constrained_and_free_replies_run_together(e):
    alone = text_of(await e.say("tell me", caller="alone", max_tokens=60))
    found = {}

    async def free():
        found["free"] = text_of(await e.say("tell me", caller="beside", max_tokens=60))

    async def forced():
        choice = {"type": "tool", "name": "get_weather"}
        message = await e.say("go", tools=[WEATHER], tool_choice=choice, max_tokens=400)
        found["call"] = calls_of(message)[0]["input"]

    async with anyio.create_task_group() as group:
        group.start_soon(free)
        group.start_soon(forced)
    assert found["free"] == alone
    jsonschema.validate(found["call"], WEATHER["input_schema"])


UNIQUE = {
    "type": "object",
    "properties": {
        "p": {
            "type": "array",
            "items": {"enum": [1, 2, 3]},
            "minItems": 2,
            "maxItems": 3,
            "uniqueItems": True,
        }
    },
    "required": ["p"],
    "additionalProperties": False,
}


async def test_a_call_that_breaks_its_schema_is_decoded_again_once(run):
    tool = {"name": "pick", "description": "", "input_schema": UNIQUE}
    fields = {"tool_choice": {"type": "tool", "name": "pick"}, "temperature": 1, "max_tokens": 99}
    valid = 0
    async with run("full", seed=None, disk_cache_mib=0) as e:
        for _ in range(12):
            picked = calls_of(await e.say("go", tools=[tool], **fields))[0]["input"]["p"]
            valid += len(set(picked)) == len(picked)
        again = sum("decoded again" in note for note in e.notes)
    assert again > 0
    assert valid >= 12 - again


async def test_an_output_format_is_held(e):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 9}},
        "required": ["ok", "n"],
        "additionalProperties": False,
    }
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    message = await e.say("answer", output_config=wanted, max_tokens=200)
    jsonschema.validate(json.loads(text_of(message)), schema)


# The demo model


async def test_the_demo_model_answers_and_calls_tools(demo):
    said = text_of(await demo.say("what is plugway", max_tokens=80))
    assert said.startswith("Plugway is a local gateway")
    order = "create hello.txt with the text hi"
    message = await demo.say(order, tools=[WRITE], max_tokens=100, session="s")
    (call,) = calls_of(message)
    assert call["input"] == {"file_path": "hello.txt", "content": "hi"}
    assert message["stop_reason"] == "tool_use"


async def test_the_demo_model_knows_the_tools_of_other_clients(demo):
    schema = {
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
    }
    tool = {"name": "write_file", "description": "Writes a file", "input_schema": schema}
    message = await demo.say("create a.txt with the text hi", tools=[tool], max_tokens=100)
    (call,) = calls_of(message)
    assert call["name"] == "write_file"
    assert call["input"] == {"path": "a.txt", "content": "hi"}


async def test_calls_of_the_demo_model_that_it_was_not_asked_for_are_blocked(demo):
    shell = {
        "name": "Bash",
        "description": "Runs a command",
        "input_schema": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    }
    choice = {"type": "tool", "name": "Bash"}
    message = await demo.say("delete all files", tools=[shell], tool_choice=choice, max_tokens=120)
    assert not calls_of(message)
    assert any("blocked" in note for note in demo.notes)


async def test_the_gateway_serves_a_stream_that_is_legal_and_the_notice(run):
    async with gateway([build_plugin(Mlx, "local", context=2048, disk_cache_mib=0)]) as running:
        events = await running.stream("what is plugway", model="anthropic/local/demo")
        assert_valid_stream(events)
