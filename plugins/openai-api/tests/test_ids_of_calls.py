"""Each call of a conversation has an id of its own, whatever the server calls it."""

import json

import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_stream,
    build_plugin,
    gateway,
    parse_sse,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream
from plugway_tool_repair import ToolRepair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
TOOL = {"name": "Bash", "description": "Runs it.", "input_schema": SCHEMA}
ARGUMENTS = '{"command": "ls"}'
OWN_IDS = ["Bash:0", "functions.Bash:0", "call_0", "0", "call_abc", "a" * 60, ""]
"""Kimi K2 counts in each answer, some servers give a number, Gemini no id at all."""
TURNS = 4


def chat(own, stream):
    calls = [(own, "Bash", ARGUMENTS)]
    if stream:
        return sse(chat_stream("", tool_calls=calls))
    return respond(200, chat_message(None, tool_calls=calls))


def responses(own, stream):
    item = {"type": "function_call", "id": "fc_1", "call_id": own, "name": "Bash"}
    item |= {"arguments": ARGUMENTS, "status": "completed"}
    usage = {"input_tokens": 9, "output_tokens": 1}
    answer = {"id": "r", "object": "response", "status": "completed", "output": [item]}
    answer |= {"model": "m", "usage": usage}
    if not stream:
        return respond(200, answer)
    events = [
        {"type": "response.created", "response": {**answer, "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": answer},
    ]
    return sse([b"data: %s\n\n" % json.dumps(event).encode() for event in events])


def gemini(own, stream):
    call = {"name": "Bash", "args": {"command": "ls"}} | ({"id": own} if own else {})
    content = {"role": "model", "parts": [{"functionCall": call}]}
    answer = {"candidates": [{"content": content, "finishReason": "STOP"}]}
    if not stream:
        return respond(200, answer)
    return sse([b"data: %s\n\n" % json.dumps(answer).encode()])


def messages(own, stream):
    call = {"type": "tool_use", "id": own or "toolu_1", "name": "Bash", "input": {"command": "ls"}}
    if stream:
        events = anthropic_stream("", tool_calls=[("Bash", {"command": "ls"})])
        return sse(
            [
                (
                    n,
                    data | {"content_block": call | {"input": {}}}
                    if "content_block" in data
                    else data,
                )
                for n, data in events
            ]
        )
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    answer |= {"content": [call], "stop_reason": "tool_use", "stop_sequence": None}
    return respond(200, answer | {"usage": {"input_tokens": 1, "output_tokens": 1}})


KINDS = {
    "chat": (OpenAICompatible, "/v1", {"api": "chat"}, chat),
    "responses": (OpenAICompatible, "/v1", {"api": "responses"}, responses),
    "gemini": (Gemini, "", {"api_key": "k"}, gemini),
    "messages": (AnthropicCompatible, "", {}, messages),
}


def serving(up, kind):
    plugin, path, options, _ = KINDS[kind]
    backend = build_plugin(plugin, "up", base_url=up.url + path, **options)
    front = [build_plugin(OpenAIApi, "openai-api"), build_plugin(ToolRepair, "tool-repair")]
    return gateway([*front, backend])


def objects(value):
    """All objects in a JSON value, in their order."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from objects(inner)


def sent_ids(body):
    """Ids of calls and of results in a request to a server, in whatever API."""
    found = list(objects(body.get("messages") or body.get("input") or body["contents"]))
    calls = [o["id"] for o in found if o.get("type") in ("tool_use", "function")]
    calls += [o["call_id"] for o in found if o.get("type") == "function_call"]
    calls += [o["functionCall"]["id"] for o in found if "functionCall" in o]
    results = [o[key] for o in found for key in ("tool_call_id", "tool_use_id") if key in o]
    results += [o["call_id"] for o in found if o.get("type") == "function_call_output"]
    results += [o["functionResponse"]["id"] for o in found if "functionResponse" in o]
    return calls, results


async def by_messages(gate, said, *, stream):
    """One turn; the id of the call, and the conversation after its result."""
    body = {"model": "up/m", "max_tokens": 99, "tools": [TOOL], "messages": said, "stream": stream}
    response = await gate.post(body)
    if stream:
        events = [data for _, data in parse_sse(response.content)]
        blocks = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    else:
        blocks = response.json()["content"]
    call = {**next(b for b in blocks if b["type"] == "tool_use"), "input": {"command": "ls"}}
    kept = [b for b in blocks if b["type"] == "redacted_thinking"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "x"}
    turns = [
        {"role": "assistant", "content": [*kept, call]},
        {"role": "user", "content": [result]},
    ]
    return call["id"], [*said, *turns]


async def by_chat(gate, said):
    function = {"name": "Bash", "parameters": SCHEMA}
    body = {"model": "up/m", "tools": [{"type": "function", "function": function}]}
    body |= {"messages": said, "n": 1}
    response = await gate.client.post("/v1/chat/completions", json=body)
    message = response.json()["choices"][0]["message"]
    (call,) = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "x"}
    return call["id"], [
        *said,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        result,
    ]


async def by_responses(gate, said):
    body = {"model": "up/m", "input": said}
    body |= {"tools": [{"type": "function", "name": "Bash", "parameters": SCHEMA}]}
    response = await gate.client.post("/v1/responses", json=body)
    items = response.json()["output"]
    id_ = next(item["call_id"] for item in items if item["type"] == "function_call")
    return id_, [*said, *items, {"type": "function_call_output", "call_id": id_, "output": "x"}]


async def ids_of(turn, gate, up, **more):
    said, found = [{"role": "user", "content": "hi"}], []
    for _ in range(TURNS):
        id_, said = await turn(gate, said, **more)
        found.append(id_)
    calls, answers = sent_ids(up.requests[-1].json)
    assert len(calls) == TURNS - 1
    assert calls == answers
    assert len(set(calls)) == len(calls)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", OWN_IDS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_messages_gets_another_id_for_each_call(kind, own, stream):
    answer = KINDS[kind][3](own, stream)
    async with ScriptedUpstream(otherwise=answer) as up, serving(up, kind) as gate:
        found = await ids_of(by_messages, gate, up, stream=stream)
    assert len(set(found)) == TURNS


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (by_chat, "responses"),
        (by_chat, "gemini"),
        (by_chat, "messages"),
        (by_responses, "chat"),
        (by_responses, "gemini"),
        (by_responses, "messages"),
    ],
)
@pytest.mark.parametrize("own", OWN_IDS)
async def test_a_client_of_openai_gets_another_id_for_each_call(turn, kind, own):
    answer = KINDS[kind][3](own, False)
    async with ScriptedUpstream(otherwise=answer) as up, serving(up, kind) as gate:
        found = await ids_of(turn, gate, up)
    assert len(set(found)) == TURNS


@pytest.mark.parametrize("plugin", [Anthropic, AnthropicCompatible])
@pytest.mark.parametrize("large", [False, True])
async def test_ids_that_a_client_reuses_are_mended_for_servers_of_messages(plugin, large):
    call = {"type": "tool_use", "id": "pw_", "name": "Bash", "input": {"id": "pw_"}}
    result = {"type": "tool_result", "tool_use_id": "pw_", "content": "x" * 9000 * large}
    turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}] * 3
    body = {"model": "up/m", "max_tokens": 99, "tools": [TOOL]}
    body["messages"] = [{"role": "user", "content": "hi"}, *turns]
    async with ScriptedUpstream() as up:
        backend = build_plugin(plugin, "up", base_url=up.url, api_key="k")
        async with gateway([backend]) as gate:
            response = await gate.post(body)
    calls, answers = sent_ids(up.requests[-1].json)
    assert calls == answers == ["pw_", "pw_-2", "pw_-3"]
    assert "changes=" in response.headers["plugway-receipt"]
