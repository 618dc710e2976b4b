"""Requests to a server that refuses them, or not, and what it got of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from plugway import Plugin
from plugway.testing import ReceivedRequest, ScriptedUpstream, build_plugin, gateway, respond
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_error_normalizer import ErrorNormalizer
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_vllm import Vllm
from tests.receipts.servers import Receipts, answer
from tests.wire.ways import PATHS

PLUGINS: Mapping[str, Callable[[str], Plugin[Any]]] = {
    "anthropic": lambda url: build_plugin(Anthropic, "up", base_url=url, api_key="k"),
    "anthropic-compatible": lambda url: build_plugin(AnthropicCompatible, "up", base_url=url),
    "llama-server": lambda url: build_plugin(LlamaServer, "up", base_url=url),
    "lmstudio": lambda url: build_plugin(LmStudio, "up", base_url=url),
    "ollama": lambda url: build_plugin(Ollama, "up", base_url=url),
    "vllm": lambda url: build_plugin(Vllm, "up", base_url=url),
    "chat": lambda url: build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1"),
    "responses": lambda url: build_plugin(OpenAI, "up", base_url=f"{url}/v1", api_key="k"),
    "gemini": lambda url: build_plugin(Gemini, "up", base_url=url, api_key="k"),
}


def preset(name: str) -> Callable[[str], Plugin[Any]]:
    """A server of Chat Completions by its preset."""
    return lambda url: build_plugin(
        OpenAICompatible, "up", base_url=f"{url}/v1", preset=name, api_key="k"
    )


@dataclass
class Told:
    """What came of one request."""

    answers: list[httpx2.Response]
    sent: list[dict[str, Any]]
    """The bodies that the server got, in order."""
    lines: list[str]
    """The receipt of the last request."""

    @property
    def schemas(self) -> list[Any]:
        """The schema of the first tool in each body."""
        return [_schema(body) for body in self.sent]


async def told(
    plugin: Callable[[str], Plugin[Any]],
    bodies: Sequence[Mapping[str, Any]],
    *,
    dialect: str = "messages",
    refuses: Callable[[dict[str, Any]], Any] = lambda body: None,
    status: int = 400,
) -> Told:
    """Sends `bodies` one after the other; `refuses` gives the error body for what it refuses."""
    sent: list[dict[str, Any]] = []

    def otherwise(request: ReceivedRequest) -> Any:
        if request.method == "GET" or "count" in request.path or "/api/" in request.path:
            return answer(request)
        sent.append(request.json)
        error = refuses(request.json)
        return respond(status, error) if error is not None else answer(request)

    async with ScriptedUpstream(otherwise=otherwise) as server:
        receipts = Receipts()
        plugins = [
            receipts,
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(ErrorNormalizer, "error-normalizer"),
            plugin(server.url),
        ]
        async with gateway(plugins) as running:
            answers = [await running.post(dict(body), PATHS[dialect]) for body in bodies]
            await receipts.done.wait()
            return Told(answers, sent, receipts.lines)


def _schema(body: dict[str, Any]) -> Any:
    tool = body["tools"][0]
    if "functionDeclarations" in tool:
        return tool["functionDeclarations"][0].get("parameters")
    return tool.get("function", tool).get("parameters", tool.get("input_schema"))
