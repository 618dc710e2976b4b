"""Names of tools that the Messages API refuses are others upstream, and the client's own again in
the reply (`^[a-zA-Z0-9_-]{1,128}$`: Anthropic, "Define tools"). OpenAI clients have such names where
their usual server accepts dots, spaces or more characters."""

from __future__ import annotations

import re
from typing import Any

import pytest

from plugway import Emitter
from plugway.testing import ReceivedRequest, ScriptedUpstream, respond, sse
from tests.wire.ways import PATHS, asked, between, calls_in

pytestmark = pytest.mark.anyio

LEGAL = re.compile(r"[a-zA-Z0-9_-]{1,128}")
NAMES = [
    "files.read",
    "read file",
    "mcp:server/tool",
    "größe",
    "读取",
    "x" * 129,
    "a.b" * 60,
    "a_b.c",
    "tool\n",
    "😀",
]


def answer(name: str, *, stream: bool) -> Any:
    emitter = Emitter(model="m")
    events = emitter.start({"input_tokens": 1, "output_tokens": 1})
    events += emitter.tool_start(name, tool_id="toolu_1")
    events += [*emitter.tool_arguments('{"path": "a"}'), *emitter.close_block()]
    events += emitter.finish("tool_use", {"output_tokens": 5})
    if stream:
        return sse([event.encode() for event in events])
    block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {"path": "a"}}
    usage = {"input_tokens": 1, "output_tokens": 5}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return respond(200, {**whole, "content": [block], "stop_reason": "tool_use", "usage": usage})


def history(dialect: str, name: str) -> dict[str, Any]:
    """What a client sends back after it has called the tool."""
    if dialect == "chat":
        call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
        turn = {"role": "assistant", "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": "c", "content": "x"}
        return {"messages": [{"role": "user", "content": "x"}, turn, result]}
    call = {"type": "function_call", "call_id": "c", "name": name, "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "x"}
    return {"input": [{"role": "user", "content": "x"}, call, result]}


def forced(dialect: str, name: str) -> dict[str, Any]:
    inner = {"name": name}
    return {"type": "function", **({"function": inner} if dialect == "chat" else inner)}


async def sent_and_read(dialect: str, body: Any, *, stream: bool) -> tuple[Any, list[Any]]:
    """What the upstream got, and the calls that the client reads where the first tool is called."""

    def script(request: ReceivedRequest) -> Any:
        if request.method == "GET":
            return respond(404)
        return answer(request.json["tools"][0]["name"], stream=stream)

    async with ScriptedUpstream(otherwise=script) as server:
        async with between("anthropic-compatible", server) as running:
            reply = await running.post(body | {"model": "up/m", "stream": stream}, PATHS[dialect])
        assert reply.status_code == 200, reply.text
        sent = next(request for request in server.requests if request.method == "POST")
        return sent.json, calls_in(dialect, reply.text, stream=stream)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_a_name_is_legal_upstream_and_the_clients_own_in_the_reply(dialect, name, stream):
    body = asked(dialect, names=[name, "Read"], tool_choice=forced(dialect, name))
    body |= history(dialect, name)
    sent, calls = await sent_and_read(dialect, body, stream=stream)
    names = [tool["name"] for tool in sent["tools"]]
    assert all(map(LEGAL.fullmatch, names))
    assert len(set(names)) == 2
    assert names[1] == "Read"
    assert sent["tool_choice"]["name"] == names[0]
    assert sent["messages"][1]["content"][0]["name"] == names[0]
    assert [(called, given) for _, called, given in calls] == [(name, {"path": "a"})]
