"""What changed is named in the terms of the client's API, whichever that is."""

import copy

import pytest
from gemini_talk import gemini_talk
from simulated_cache import PlainCache
from test_causes import explained, talk

from plugway.testing import build_plugin
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible

pytestmark = pytest.mark.anyio


def relaying(url):
    key = {"base_url": f"{url}/v1", "api_key": "sk-1", "zone": "api.openai.com"}
    return [build_plugin(OpenAIApi, "api"), build_plugin(OpenAICompatible, "up", **key)]


def call(number, arguments):
    function = {"name": "ls", "arguments": arguments}
    return {"id": f"c{number}", "type": "function", "function": function}


def function(name, **more):
    return {"name": name, "description": f"Runs {name}.", "parameters": {"type": "object"}, **more}


def chat_body(content=None):
    """Two rounds of tools in Chat Completions."""
    messages = [
        {"role": "system", "content": "Rules. " * 900},
        {"role": "user", "content": "Look. " * 200},
    ]
    for number in (1, 2):
        asked = {"role": "assistant", "tool_calls": [call(number, '{"path": "a", "all": true}')]}
        if content != "absent":
            asked["content"] = content
        messages.append(asked)
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": "file " * 500})
    tools = [{"type": "function", "function": function(name)} for name in ("ls", "cat")]
    return {"model": "up/some-model", "messages": messages, "tools": tools}


def with_other_arguments(body):
    body["messages"][2]["tool_calls"][0]["function"]["arguments"] = '{"all": true, "path": "a"}'


def with_other_result(body):
    body["messages"][3]["content"] += "!"


def with_other_description(body):
    body["tools"][1]["function"]["description"] = "Prints."


def as_developer(body):
    body["messages"][0]["role"] = "developer"


@pytest.mark.parametrize("content", [None, "absent", "Words."])
@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (with_other_arguments, "messages[2] (assistant) was edited: its tool calls changed"),
        (with_other_result, "messages[3] (tool) was edited: content[0] `text` changed"),
        (with_other_description, "tools[1] `cat`: its definition changed"),
        (as_developer, "messages[0] (developer) was edited: its role changed"),
    ],
)
async def test_edits_of_chat_completions_are_named(edit, why, content):
    async with talk(PlainCache, api="chat", backends=relaying) as client:

        async def ask(body):
            lines = {"x-claude-code-session-id": "s"}
            post = client.running.client.post
            reply = await post("/v1/chat/completions", json=body, headers=lines)
            assert reply.status_code == 200, reply.text
            client.clock.now += 10
            return await explained(client.watch, reply.headers["plugway-request-id"])

        body = chat_body(content)
        await ask(body)
        body = copy.deepcopy(body)
        body["messages"].append({"role": "user", "content": "Go on. " * 50})
        hit = await ask(body)
        body = copy.deepcopy(body)
        body["messages"].append({"role": "user", "content": "And then? " * 50})
        edit(body)
        found = await ask(body)
    assert hit["cause"] == "hit"
    assert found["why"] == why


def gemini_body():
    declared = [function(name) for name in ("ls", "cat", "grep")]
    return {
        "systemInstruction": {"parts": [{"text": "You. " * 3000}]},
        "contents": [{"role": "user", "parts": [{"text": "Q " * 4000}]}],
        "tools": [{"functionDeclarations": declared}],
    }


def with_other_function(body):
    body["tools"][0]["functionDeclarations"][1]["description"] = "Prints."


def without_function(body):
    del body["tools"][0]["functionDeclarations"][0]


def with_other_schema(body):
    body["tools"][0]["functionDeclarations"][2]["parameters"] = {"type": "string"}


def with_other_question(body):
    body["contents"][0]["parts"][0]["text"] = "R " * 4000


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (with_other_function, "tools[1] `cat`: its description changed"),
        (without_function, "tools[0] was removed"),
        (with_other_schema, "tools[2] `grep`: its schema changed"),
        (with_other_question, "messages[0] (user) was edited: content[0] `text` changed"),
    ],
)
@pytest.mark.parametrize("spelled", ["functionDeclarations", "function_declarations"])
async def test_edits_of_geminis_api_are_named(edit, why, spelled):
    async with gemini_talk() as talk:

        async def ask(body, total, cached):
            body = copy.deepcopy(body)
            for tool in body["tools"]:
                if "functionDeclarations" in tool:
                    tool[spelled] = tool.pop("functionDeclarations")
            return await talk(body, total, cachedContentTokenCount=cached)

        body = gemini_body()
        await ask(body, 12000, 0)
        body["contents"] += [
            {"role": "model", "parts": [{"text": "hi"}]},
            {"role": "user", "parts": [{"text": "More."}]},
        ]
        assert (await ask(body, 12100, 11000))["cause"] == "hit"
        edit(body)
        found = await ask(body, 12200, 0)
    assert found["why"] == why
