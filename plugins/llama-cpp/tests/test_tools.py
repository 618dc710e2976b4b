"""Tool calls of a model that knows nothing: what is enforced holds all the same."""

import json
import random

import jsonschema
import orjson
import pytest

from conftest import text_of
from plugway import Attempt, InvalidRequest, MessagesRequest, RequestRejected
from plugway.testing import build_plugin, request_body
from plugway_llama_cpp import LlamaCpp
from tests.slow import SLOW

pytestmark = pytest.mark.anyio

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a place.",
    "input_schema": {
        "type": "object",
        "properties": {
            "place": {"type": "string", "maxLength": 20},
            "unit": {"enum": ["celsius", "kelvin"]},
        },
        "required": ["place", "unit"],
        "additionalProperties": False,
    },
}
NOTHING = {"name": "now", "description": "", "input_schema": {"type": "object", "properties": {}}}


def calls_of(message):
    return [block for block in message["content"] if block["type"] == "tool_use"]


def random_schema(rng, depth=0):
    """An object schema with bounds, so that a model of noise comes to an end."""
    properties = {f"p{n}": random_value(rng, depth) for n in range(rng.randint(0, 3))}
    required = [name for name in properties if rng.random() < 0.7]
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def random_value(rng, depth):
    kinds = ["string", "integer", "boolean", "enum", "const", "null"]
    kinds += ["array", "object", "anyOf"] if depth < 2 else []
    match rng.choice(kinds):
        case "string":
            return {"type": "string", "maxLength": rng.randint(0, 12)}
        case "integer":
            low = rng.randint(-50, 50)
            return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 500)}
        case "enum":
            return {"enum": rng.sample(["red", "green", "blue", 'a "quote"', 7, None], 3)}
        case "const":
            return {"const": rng.choice(["fixed", 3, True])}
        case "array":
            return {"type": "array", "items": random_value(rng, depth + 1), "maxItems": 3}
        case "object":
            return random_schema(rng, depth + 1)
        case "anyOf":
            return {"anyOf": [random_value(rng, depth + 1), {"type": "boolean"}]}
        case kind:
            return {"type": kind}


async def force_calls(e, count, seed):
    rng = random.Random(seed)
    for number in range(count):
        schema = random_schema(rng)
        tool = {"name": f"tool_{number}", "description": "", "input_schema": schema}
        message = await e.say(
            f"call number {number}",
            tools=[tool],
            tool_choice={"type": "tool", "name": tool["name"]},
            max_tokens=1000,
            temperature=rng.choice([0, 1]),
        )
        (call,) = calls_of(message)
        assert call["name"] == tool["name"]
        assert message["stop_reason"] == "tool_use"
        jsonschema.validate(call["input"], schema)


@pytest.mark.parametrize("ahead", [0, 4])
async def test_forced_calls_are_all_valid(engine, models, ahead):
    async with engine(models["sliding"], disk_cache_mib=0, guess_ahead=ahead) as e:
        await force_calls(e, 50 if SLOW else 15, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_thousand_forced_calls_are_all_valid(engine, models):
    async with engine(models["sliding"], disk_cache_mib=0, limit_seconds=580) as e:
        await force_calls(e, 1000, seed=2)


async def test_any_makes_at_least_one_call_of_the_tools_given(engine, models):
    async with engine(models["sliding"]) as e:
        message = await e.say(
            "go",
            tools=[WEATHER, NOTHING],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            max_tokens=500,
        )
    (call,) = calls_of(message)
    assert call["name"] in ("get_weather", "now")
    assert call["id"].startswith("toolu_")
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("choice", ["any", {"type": "required"}, {"type": "tool"}, {}])
async def test_a_choice_that_means_nothing_is_refused(choice):
    plugin = build_plugin(LlamaCpp, "local")
    (backend,) = plugin.register_backends()
    body = request_body(tools=[NOTHING], tool_choice=choice)
    with pytest.raises(InvalidRequest, match="tool_choice"):
        await backend.send(MessagesRequest(orjson.dumps(body)), Attempt(backend, "demo"))


async def test_none_makes_no_call(engine, models):
    async with engine(models["sliding"]) as e:
        for temperature in (0, 1):
            message = await e.say(
                "go",
                tools=[WEATHER],
                tool_choice={"type": "none"},
                max_tokens=100,
                temperature=temperature,
            )
            assert not calls_of(message)
            assert "<tool_call>" not in text_of(message)


async def test_auto_constrains_from_the_moment_a_call_begins(engine, models):
    prefill = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "Let me see.\n<tool_call>"},
    ]
    async with engine(models["sliding"]) as e:
        for seed in range(3):
            message = await e.say(prefill, tools=[WEATHER], max_tokens=300, top_k=seed + 5)
            call = calls_of(message)[0]
            jsonschema.validate(call["input"], WEATHER["input_schema"])


UNIQUE = {
    "type": "object",
    "properties": {
        "p": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "maxItems": 3}
    },
    "required": ["p"],
    "additionalProperties": False,
}
UNIQUE["properties"]["p"]["uniqueItems"] = True


@pytest.mark.parametrize("choice", ["auto", "tool"])
async def test_a_call_that_breaks_its_schema_is_decoded_again_once(engine, models, choice):
    tool = {"name": "pick", "description": "", "input_schema": UNIQUE}
    prompt = [{"role": "user", "content": "go"}]
    fields = {"tool_choice": {"type": "tool", "name": "pick"}}
    if choice == "auto":
        prompt.append({"role": "assistant", "content": "Well.\n<tool_call>"})
        fields = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    valid = 0
    async with engine(models["sliding"], seed=None) as e:
        for _ in range(20):
            message = await e.say(prompt, tools=[tool], temperature=1, max_tokens=99, **fields)
            picked = calls_of(message)[0]["input"]["p"]
            valid += len(set(picked)) == len(picked)
        again = sum("decoded again" in note for note in e.notes)
    assert again > 0
    assert valid >= 20 - again


async def test_an_output_format_is_held(engine, models):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 9}},
        "required": ["ok", "n"],
        "additionalProperties": False,
    }
    async with engine(models["sliding"]) as e:
        message = await e.say(
            "answer",
            output_config={"format": {"type": "json_schema", "schema": schema}},
            max_tokens=200,
        )
    jsonschema.validate(json.loads(text_of(message)), schema)


async def test_a_schema_nobody_can_compile_is_said_and_the_request_served(engine, models):
    huge = {"type": "object", "properties": {f"p{n}": {"enum": ["x" * 200]} for n in range(50_000)}}
    tool = {"name": "huge", "description": "", "input_schema": huge}
    async with engine(models["full"], context=65536, slots=1) as e:
        with pytest.raises(RequestRejected, match=r"prompt is too long|MiB"):
            await e.say("go", tools=[tool])
        cyclic = {"type": "object", "$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
        tool = {"name": "cyclic", "description": "", "input_schema": cyclic}
        assert await e.say("go", tools=[tool])


async def test_thinking_is_signed_as_ours(engine, models):
    from plugway_signature import parse_signature

    prefill = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "<think>"}]
    async with engine(models["sliding"]) as e:
        message = await e.say(prefill, max_tokens=20)
    block = message["content"][0]
    assert block["type"] == "thinking"
    assert parse_signature(block["signature"]) is not None
