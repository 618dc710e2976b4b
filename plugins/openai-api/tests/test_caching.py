"""Clients of OpenAI's APIs have no word for Anthropic's caching: the marks are set for them."""

import json

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MARK = {"type": "ephemeral"}
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
FUNCTIONS = [{"type": "function", "name": name, "parameters": {}} for name in ("a", "b")]
TOOLS = [{"type": "function", "function": {"name": tool["name"]}} for tool in FUNCTIONS]
CALL = {"id": "c1", "type": "function", "function": {"name": "a", "arguments": "{}"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


CONVERSATIONS = {
    "one turn": (CHAT, {"messages": [user("one")]}, ["messages.0.0"]),
    "instructions": (
        CHAT,
        {"messages": [{"role": "system", "content": "s"}, user("one")]},
        ["system.0", "messages.0.0"],
    ),
    "all": (
        CHAT,
        {
            "tools": TOOLS,
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "developer", "content": "d"},
                user("one"),
                said("two"),
                user("three"),
                said("four"),
                user([{"type": "text", "text": "five"}, PICTURE]),
            ],
        },
        ["tools.1", "system.1", "messages.2.0", "messages.4.1"],
    ),
    "a result": (
        CHAT,
        {
            "tools": TOOLS,
            "messages": [
                user("one"),
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "x"},
            ],
        },
        ["tools.1", "messages.0.0", "messages.2.0"],
    ),
    "text": (RESPONSES, {"input": "one", "instructions": "s"}, ["system.0", "messages.0.0"]),
    "items": (
        RESPONSES,
        {
            "tools": FUNCTIONS,
            "input": [
                user("one"),
                {"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "x"},
            ],
        },
        ["tools.1", "messages.0.0", "messages.2.0"],
    ),
}


def marks(body):
    """Where the marks are, and that each is as Anthropic has it."""
    found = [(f"tools.{i}", tool) for i, tool in enumerate(body.get("tools", []))]
    found += [
        (f"system.{i}", block)
        for i, block in enumerate(body.get("system", []))
        if isinstance(block, dict)
    ]
    for i, turn in enumerate(body["messages"]):
        content = turn["content"] if isinstance(turn["content"], list) else []
        found += [(f"messages.{i}.{j}", block) for j, block in enumerate(content)]
    here = [(place, block["cache_control"]) for place, block in found if "cache_control" in block]
    assert all(mark == MARK for _, mark in here)
    return [place for place, _ in here]


async def sent(plugin, path, body, model="claude-sonnet-4-5"):
    async with ScriptedUpstream() as up:
        backend = build_plugin(plugin, "up", base_url=up.url, api_key="k")
        async with gateway([build_plugin(OpenAIApi, "openai-api"), backend]) as gate:
            response = await gate.client.post(path, json={"model": f"up/{model}", **body})
        assert response.status_code == 200, response.text
        return up.requests[-1].json


@pytest.mark.parametrize("plugin", [Anthropic, AnthropicCompatible])
@pytest.mark.parametrize("case", CONVERSATIONS)
async def test_tools_system_and_the_last_turns_are_marked(plugin, case):
    path, body, expected = CONVERSATIONS[case]
    found = marks(await sent(plugin, path, body))
    assert found == expected
    assert len(found) <= 4


async def test_the_next_turn_marks_the_place_that_the_last_one_ended_at():
    conversation = [user("one"), said("two"), user("three")]
    before = marks(await sent(Anthropic, CHAT, {"messages": conversation}))
    conversation += [said("four"), user("five")]
    after = marks(await sent(Anthropic, CHAT, {"messages": conversation}))
    assert before[-1] in after


async def test_the_words_are_the_same_with_and_without_marks():
    path, body, _ = CONVERSATIONS["all"]
    with_marks = json.dumps(await sent(Anthropic, path, body))
    without = json.dumps(await sent(AnthropicCompatible, path, body, model="glm-5"))
    for word in ("five", "four", "three", "two", "one"):
        assert with_marks.count(f'"{word}"') == without.count(f'"{word}"') == 1


async def test_marks_that_the_client_has_set_are_the_only_ones():
    own = {"type": "text", "text": "one", "cache_control": MARK}
    body = await sent(Anthropic, CHAT, {"messages": [user([own]), said("two"), user("three")]})
    assert marks(body) == ["messages.0.0"]


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_server_that_is_no_claude_gets_no_marks(path):
    body = {"messages": [user("one")]} if path == CHAT else {"input": "one"}
    assert marks(await sent(AnthropicCompatible, path, body, model="glm-5")) == []


async def test_a_client_of_messages_sets_its_own_marks_or_none():
    body = {"max_tokens": 9, "messages": [user("one")]}
    assert marks(await sent(Anthropic, "/v1/messages", body)) == []
