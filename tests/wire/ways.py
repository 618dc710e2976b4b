"""Each API that a client may speak, and each backend that translates, on one scripted server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from plugway import Plugin
from plugway.testing import Gateway, ScriptedUpstream, build_plugin, gateway
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
    dialect: str, *, schema: Mapping[str, Any] = SCHEMA, description: str = "Reads.", **more: Any
) -> dict[str, Any]:
    """A request with one tool, `Read`, in the API `dialect`."""
    tool = {"name": "Read", "description": description}
    turn = {"role": "user", "content": "read a"}
    if dialect == "messages":
        tools: list[Any] = [{**tool, "input_schema": schema}]
        return {"model": "m", "max_tokens": 99, "messages": [turn], "tools": tools, **more}
    if dialect == "chat":
        tools = [{"type": "function", "function": {**tool, "parameters": schema}}]
        return {"model": "m", "messages": [turn], "tools": tools, **more}
    tools = [{"type": "function", **tool, "parameters": schema, "strict": False}]
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
