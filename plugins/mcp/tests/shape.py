"""A gateway with the whole family of plugins, and the official SDK's client of it."""

from contextlib import asynccontextmanager

import httpx2
import orjson
from mcp.client import ClientSession
from mcp.client.streamable_http import streamable_http_client

from plugins.switch.tests.talk import backend
from plugway import ModelInfo
from plugway.testing import build_plugin, gateway
from plugway_mcp import Mcp
from plugway_recommend import Recommend
from plugway_switch import Switch

TOOLS = [{"name": "mcp__plugway__endpoint_set", "input_schema": {"type": "object"}}]
QWEN = ModelInfo("qwen3:8b", context_tokens=65_536, state="loaded")


def backends():
    return [
        backend("home", "vendor"),
        backend("ollama", "local", QWEN),
        backend("cloud", "google", ModelInfo("gemini-2.5-flash", context_tokens=1_000_000)),
    ]


@asynccontextmanager
async def running(*stack, switch=None, recommend=None, server=None):
    """`recommend={}` lists it; the plugin `mcp` is `gate.mcp`."""
    mcp = build_plugin(Mcp, "mcp")
    family = [mcp, build_plugin(Switch, "switch", warm=False, **(switch or {}))]
    if recommend is not None:
        family.append(build_plugin(Recommend, "recommend", **recommend))
    async with gateway([*family, *(stack or backends())], **(server or {})) as gate:
        gate.mcp = mcp
        yield gate


@asynccontextmanager
async def client_of(gate):
    """An initialized session of the SDK's client."""
    headers = {"authorization": f"Bearer {gate.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False, verify=False) as http,
        streamable_http_client(f"{gate.url}/mcp", http_client=http) as streams,
        ClientSession(*streams[:2]) as session,
    ):
        await session.initialize()
        yield session


async def call(session, name, arguments=None, tool_use_id=None):
    """The text of a result, with `! ` before it where the tool failed."""
    meta = {"claudecode/toolUseId": tool_use_id} if tool_use_id else None
    result = await session.call_tool(name, arguments or {}, meta=meta)
    assert result.structured_content is None
    (content,) = result.content
    return f"! {content.text}" if result.is_error else content.text


def calling(tool_use_id, name="mcp__plugway__endpoint_set", **arguments):
    """A message of a model that calls a tool."""
    block = {"type": "tool_use", "id": tool_use_id, "name": name, "input": arguments}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [block],
        "stop_reason": "tool_use",
        "stop_sequence": None,
    }


async def streamed(client, tool_use_id, stack, *, stream=True, name="mcp__plugway__endpoint_set"):
    """One turn of a conversation in which `home` calls one of our tools."""
    stack[0].script = [calling(tool_use_id, name)]
    tools = [{"name": name, "input_schema": {"type": "object"}}]
    await client.say("please", tools=tools, stream=stream)


def rpc(method, id=1, **params):
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


async def post(gate, body, **headers):
    """A raw POST to `/mcp`."""
    given = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        **headers,
    }
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return await gate.client.post("/mcp", content=raw, headers=given)
