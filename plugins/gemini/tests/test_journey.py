"""Anthropic's SDK through a gateway; a conversation that leaves Gemini and comes back whole."""

import json
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from gemini_answers import SIGNATURE, USAGE, Server, call, hello, piece, text, thought

from plugway.testing import (
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
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_thinking import Thinking

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

GEMINI, OTHER, CLAUDE = "g/gemini-3-pro", "other/m", "claude/m"
TOOLS: Any = [
    {
        "name": "Read",
        "description": "reads a file",
        "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
            "additionalProperties": False,
        },
    }
]
CALLS = (
    piece(thought("Both files.")),
    piece(text("I read both.")),
    piece(call("Read", {"path": "ä.txt"}, "fc.1", thoughtSignature=SIGNATURE)),
    piece(call("Read", {"path": "b.txt"}, "fc.2"), finish="STOP", usage=USAGE),
)
STEP = (
    piece(call("Read", {"path": "c.txt"}, "fc.3", thoughtSignature="SECOND+/=="), finish="STOP"),
)


def anthropic_server(request):
    if "count_tokens" in request.path:
        return respond(200, {"input_tokens": 5})
    if request.json.get("stream"):
        return sse(anthropic_stream("Noted.", model="m"))
    return respond(200, anthropic_message("Noted.", model="m"))


class Trip:
    """Servers behind one gateway, and a conversation through it."""

    def __init__(self, running, client, google, other):
        self.running, self.client = running, client
        self.google, self.other = google, other
        self.messages: list[Any] = [{"role": "user", "content": "Compare the files"}]

    async def say(self, model, *, stream=True, **fields):
        """One turn of the conversation; what is answered becomes part of it."""
        wanted: Any = {
            "model": model,
            "max_tokens": 9000,
            "messages": self.messages,
            "tools": TOOLS,
            "thinking": {"type": "adaptive"},
            **fields,
        }
        if stream:
            async with self.client.messages.stream(**wanted) as answer:
                message = await answer.get_final_message()
        else:
            message = await self.client.messages.create(**wanted)
        content = json.loads(message.to_json())["content"]
        self.messages.append({"role": "assistant", "content": content})
        return message

    def results(self, *texts):
        """Results for the calls of the last turn."""
        calls = [b for b in self.messages[-1]["content"] if b["type"] == "tool_use"]
        made = [
            {"type": "tool_result", "tool_use_id": b["id"], "content": t}
            for b, t in zip(calls, texts, strict=True)
        ]
        self.messages.append({"role": "user", "content": made})


@asynccontextmanager
async def trip(*answers, before=()):
    async with (
        ScriptedUpstream(otherwise=Server(*answers)) as google,
        ScriptedUpstream(otherwise=anthropic_server) as other,
    ):
        stack = [
            *before,
            build_plugin(Gemini, "g", base_url=google.url, api_key="k"),
            build_plugin(AnthropicCompatible, "other", base_url=other.url),
            build_plugin(Anthropic, "claude", base_url=other.url, api_key="k"),
        ]
        async with (
            gateway(stack) as running,
            anthropic.AsyncAnthropic(
                base_url=running.url, auth_token=running.token, max_retries=0
            ) as client,
        ):
            yield Trip(running, client, google, other)


def stack():
    return build_plugin(Thinking, "thinking"), build_plugin(FieldPolicy, "field-policy")


@pytest.mark.parametrize("stream", [True, False])
async def test_the_sdk_gets_thinking_text_and_parallel_calls(stream):
    async with trip(CALLS) as t:
        message = await t.say(GEMINI, stream=stream)
    kinds = [block.type for block in message.content]
    assert kinds == ["thinking", "text", "redacted_thinking", "tool_use", "tool_use"]
    assert message.content[3].input == {"path": "ä.txt"}
    assert (message.stop_reason, message.model) == ("tool_use", GEMINI)
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (20, 100, 37)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("plugins", ["none", "stack"])
async def test_a_conversation_leaves_and_comes_back_without_loss(stream, plugins):
    before = stack() if plugins == "stack" else ()
    away = (OTHER, CLAUDE) if before else ()
    async with trip(CALLS, STEP, hello(), before=before) as t:
        await t.say(GEMINI, stream=stream)
        t.results("A", "B")
        await t.say(GEMINI, stream=stream)
        t.results("C")
        for model in away:
            await t.say(model, stream=stream)
            t.messages.append({"role": "user", "content": "and now?"})
        await t.say(GEMINI, stream=stream)

    sent = t.google.requests[-1].json["contents"]
    calls = [p for c in sent for p in c["parts"] if "functionCall" in p]
    assert calls == [
        call("Read", {"path": "ä.txt"}, "fc.1", thoughtSignature=SIGNATURE),
        call("Read", {"path": "b.txt"}, "fc.2"),
        call("Read", {"path": "c.txt"}, "fc.3", thoughtSignature="SECOND+/=="),
    ]
    results = [p["functionResponse"] for c in sent for p in c["parts"] if "functionResponse" in p]
    assert [(r["id"], r["response"]["output"]) for r in results] == [
        ("fc.1", "A"),
        ("fc.2", "B"),
        ("fc.3", "C"),
    ]
    assert [c["role"] for c in sent] == ["user", "model"] * (len(sent) // 2) + ["user"]
    said = json.dumps(sent)
    assert ("Noted." in said) is bool(away)
    for request in t.other.requests:  # nobody else is sent what Google has signed
        assert b"thinking" not in b"".join(json.dumps(m).encode() for m in request.json["messages"])
        assert b"fc.1" not in request.body  # an id that the Messages API does not take


async def test_calls_that_another_model_made_are_continued_with_the_bypass():
    def other_calls(request):
        return sse(anthropic_stream("", tool_calls=[("Read", {"path": "x"})], model="m"))

    async with trip(hello(), before=stack()) as t:
        t.other.script(other_calls)
        await t.say(OTHER)
        t.results("X")
        await t.say(GEMINI)
    part = t.google.requests[-1].json["contents"][1]["parts"][0]
    assert part["functionCall"]["args"] == {"path": "x"}
    assert part["thoughtSignature"] == "skip_thought_signature_validator"


async def test_a_signature_of_another_gemini_is_not_used():
    async with trip(STEP, hello(), before=stack()) as t:
        await t.say(GEMINI)
        t.results("C")
        await t.say("g/gemini-3-flash")
    part = t.google.requests[-1].json["contents"][1]["parts"][0]
    assert part["thoughtSignature"] == "skip_thought_signature_validator"
