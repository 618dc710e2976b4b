"""Each API that a client may speak, and each backend that translates, on one scripted server."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from plugway import Plugin
from plugway.testing import Gateway, ScriptedUpstream, build_plugin, gateway, parse_sse
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_error_normalizer import ErrorNormalizer
from plugway_gemini import Gemini
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible

BACKENDS: Mapping[str, Callable[[str], Plugin[Any]]] = {
    "anthropic-compatible": lambda url: build_plugin(
        AnthropicCompatible, "up", base_url=url, zone="vendor"
    ),
    "chat": lambda url: build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1"),
    "responses": lambda url: build_plugin(OpenAI, "up", base_url=f"{url}/v1", api_key="k"),
    "gemini": lambda url: build_plugin(Gemini, "up", base_url=url, api_key="k"),
}
PATHS = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
}
SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}


def asked(
    dialect: str,
    *,
    schema: Mapping[str, Any] = SCHEMA,
    description: str = "Reads.",
    names: Sequence[str] = ("Read",),
    **more: Any,
) -> dict[str, Any]:
    """A request with tools in the API `dialect`."""
    tools: list[Any] = [{"name": name, "description": description} for name in names]
    turn = {"role": "user", "content": "read a"}
    if dialect == "messages":
        tools = [{**tool, "input_schema": schema} for tool in tools]
        return {"model": "m", "max_tokens": 99, "messages": [turn], "tools": tools, **more}
    tools = [{**tool, "parameters": schema} for tool in tools]
    if dialect == "chat":
        tools = [{"type": "function", "function": tool} for tool in tools]
        return {"model": "m", "messages": [turn], "tools": tools, **more}
    tools = [{"type": "function", **tool, "strict": False} for tool in tools]
    return {"model": "m", "input": [turn], "tools": tools, **more}


@asynccontextmanager
async def between(
    backend: str, server: ScriptedUpstream, others: Sequence[Plugin[Any]] = ()
) -> AsyncGenerator[Gateway]:
    """A gateway for clients of every API, with one backend in front of `server`."""
    plugins = [
        build_plugin(OpenAIApi, "openai-api"),
        build_plugin(ErrorNormalizer, "error-normalizer"),
        *others,
        BACKENDS[backend](server.url),
    ]
    async with gateway(plugins) as running:
        yield running


Call = tuple[str, str, Any]
"""Id, name and input of a call."""


def calls_in(dialect: str, text: str, *, stream: bool) -> list[Call]:
    """The calls of an answer as a client of `dialect` reads them; their ids differ."""
    found = list(_STREAMED[dialect](text) if stream else _WHOLE[dialect](json.loads(text)))
    assert len({id_ for id_, _, _ in found}) == len(found), found
    return found


def _messages_whole(answer: dict[str, Any]) -> Iterator[Call]:
    for block in answer["content"]:
        if block["type"] == "tool_use":
            yield block["id"], block["name"], block["input"]


def _chat_whole(answer: dict[str, Any]) -> Iterator[Call]:
    for call in answer["choices"][0]["message"].get("tool_calls") or ():
        function = call["function"]
        yield call["id"], function["name"], json.loads(function["arguments"])


def _responses_whole(answer: dict[str, Any]) -> Iterator[Call]:
    for item in answer["output"]:
        if item["type"] == "function_call":
            yield item["call_id"], item["name"], json.loads(item["arguments"])


def _messages_streamed(text: str) -> Iterator[Call]:
    block: dict[str, Any] = {}
    pieces: list[str] = []
    for kind, data in parse_sse(text.encode()):
        assert kind != "error", data
        if kind == "content_block_start":
            block, pieces = data["content_block"], []
        elif kind == "content_block_delta" and data["delta"]["type"] == "input_json_delta":
            pieces.append(data["delta"]["partial_json"])
        elif kind == "content_block_stop" and block["type"] == "tool_use":
            yield block["id"], block["name"], json.loads("".join(pieces) or "{}")


def _chat_streamed(text: str) -> Iterator[Call]:
    calls: dict[int, list[str]] = {}
    for _, data in parse_sse(text.encode()):
        assert "error" not in data, data
        for piece in (
            call for c in data.get("choices", ()) for call in c["delta"].get("tool_calls") or ()
        ):
            call = calls.setdefault(piece["index"], ["", "", ""])
            function = piece["function"]
            call[0] += piece.get("id") or ""
            call[1] += function.get("name") or ""
            call[2] += function.get("arguments") or ""
    return ((id_, name, json.loads(arguments)) for id_, name, arguments in calls.values())


def _responses_streamed(text: str) -> Iterator[Call]:
    said: dict[str, str] = {}
    for kind, data in parse_sse(text.encode()):
        if kind == "response.function_call_arguments.delta":
            said[data["item_id"]] = said.get(data["item_id"], "") + data["delta"]
        elif kind == "response.output_item.done" and data["item"]["type"] == "function_call":
            assert said.get(data["item"]["id"], "{}") == data["item"]["arguments"]
        elif kind == "response.completed":
            yield from _responses_whole(data["response"])


_STREAMED: Mapping[str, Callable[[str], Iterator[Call]]] = {
    "messages": _messages_streamed,
    "chat": _chat_streamed,
    "responses": _responses_streamed,
}
_WHOLE: Mapping[str, Callable[[dict[str, Any]], Iterator[Call]]] = {
    "messages": _messages_whole,
    "chat": _chat_whole,
    "responses": _responses_whole,
}
