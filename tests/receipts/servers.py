"""Each backend in front of a scripted server, and a receipt to read."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from plugway import Exchange, NoOptions, Outcome, Plugin, hookimpl
from plugway.testing import (
    Gateway,
    ReceivedRequest,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_codex import Codex
from plugway_context_guard import ContextGuard
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router
from plugway_server_tools import ServerTools
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair
from plugway_vllm import Vllm
from tests.receipts.facts import Facts, read_messages
from tests.receipts.wires import read_chat, read_gemini, read_responses

NOTHING: Mapping[str, Any] = {}
MODELS = {"gemini": "gemini-3-pro"}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
_CHAT = {"id": "c", "object": "chat.completion", "choices": [_CHOICE]}
_ITEM = {
    "type": "message",
    "id": "m",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Yes.", "annotations": []}],
}
_RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": [_ITEM]}
_RESPONSE |= {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}
_GEMINI = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "Yes."}]}, "finishReason": "STOP"}
    ]
}


@dataclass(frozen=True)
class Server:
    """How one backend is set up, and how its requests are read."""

    plugin: Callable[[str], Plugin[Any]]
    read: Callable[[ReceivedRequest], Facts]
    path: str = "/v1/messages"


def _messages(request: ReceivedRequest) -> Facts:
    return read_messages(request.json, request.header("anthropic-beta") or "")


def _made(kind: type[Plugin[Any]], path: str = "", **options: Any) -> Callable[[str], Plugin[Any]]:
    return lambda url: build_plugin(kind, "up", base_url=f"{url}{path}", **options)


SERVERS = {
    "anthropic": Server(_made(Anthropic, api_key="k"), _messages),
    "anthropic-compatible": Server(_made(AnthropicCompatible, zone="vendor"), _messages),
    "ollama": Server(_made(Ollama), _messages),
    "vllm": Server(_made(Vllm), _messages),
    "lmstudio": Server(_made(LmStudio), _messages),
    "llama-server": Server(_made(LlamaServer), _messages),
    "openai-compatible": Server(
        _made(OpenAICompatible, "/v1"), lambda r: read_chat(r.json), "/v1/chat/completions"
    ),
    "openrouter": Server(
        _made(OpenAICompatible, "/v1", preset="openrouter", api_key="k"),
        lambda r: read_chat(r.json),
        "/v1/chat/completions",
    ),
    "openai": Server(
        _made(OpenAI, "/v1", api_key="k"), lambda r: read_responses(r.json), "/v1/responses"
    ),
    "codex": Server(_made(Codex), lambda r: read_responses(r.json), "/responses"),
    "gemini": Server(_made(Gemini, api_key="k"), lambda r: read_gemini(r.json), ":generateContent"),
}


def lists(name: str, *, vision: bool) -> dict[str, Any]:
    """What a local server says of its one model."""
    tools = ["completion", "tools"]
    able = {"vision": vision, "trained_for_tool_use": True}
    props = {"chat_template_caps": {"supports_tools": True}, "modalities": {"vision": vision}}
    return {
        "ollama": {"/api/show": {"capabilities": [*tools, "vision"] if vision else tools}},
        "lmstudio": {"/api/v1/models": {"models": [{"key": "m", "capabilities": able}]}},
        "llama-server": {"/v1/models": {"data": [{"id": "m"}]}, "/props": props},
    }[name]


def answer(request: ReceivedRequest) -> Any:
    """A short answer in the API that the path is of."""
    if request.method == "GET" or "count" in request.path or request.path.startswith("/api/"):
        return respond(404, {"error": {"message": "not found"}})
    if request.path.endswith("/chat/completions"):
        return respond(200, _CHAT)
    if request.path.endswith("/responses"):
        if not request.json["stream"]:
            return respond(200, _RESPONSE)
        return sse([(kind, data) for kind, data in _response_events()])
    if ":generateContent" in request.path:
        return respond(200, _GEMINI)
    return respond(200, anthropic_message("Yes."))


def _response_events() -> list[tuple[str, dict[str, Any]]]:
    events = [
        {"type": "response.created", "response": {**_RESPONSE, "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**_ITEM, "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "delta": "Yes."},
        {"type": "response.output_item.done", "output_index": 0, "item": _ITEM},
        {"type": "response.completed", "response": _RESPONSE},
    ]
    return [(str(data["type"]), data) for data in events]


class Receipts(Plugin[NoOptions]):
    """Keeps the receipts."""

    def __init__(self) -> None:
        super().__init__(NoOptions(), name="receipts")
        self.lines: list[str] = []
        self.done = anyio.Event()

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """The lines of changes."""
        quiet = ("route", "layer")
        self.lines = [entry.what for entry in exchange.receipt if entry.stage not in quiet]
        self.done.set()


def log_in(home: Path) -> None:
    """A login as `codex login` leaves it, signed by nobody."""
    claims = {"exp": int(time.time()) + 3600}
    claims |= {"https://api.openai.com/auth": {"chatgpt_account_id": "acct-1"}}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode() for p in ({}, claims)]
    token = ".".join([*(part.rstrip("=") for part in parts), "c2ln"])
    tokens = {
        "id_token": token,
        "access_token": token,
        "refresh_token": "r",
        "account_id": "acct-1",
    }
    home.mkdir(exist_ok=True)
    file = home / "auth.json"
    file.write_text(json.dumps({"auth_mode": "chatgpt", "tokens": tokens}))
    file.chmod(0o600)


@dataclass
class Sent:
    """What became of one request."""

    arrived: Facts
    lines: list[str]
    explained: dict[str, Any]
    raw: dict[str, Any]


@asynccontextmanager
async def serving(
    name: str, says: Mapping[str, Any]
) -> AsyncGenerator[tuple[Gateway, ScriptedUpstream, Receipts]]:
    """The usual stack in front of one server, which `says` something of itself under a path."""
    receipts = Receipts()

    def otherwise(request: ReceivedRequest) -> Any:
        return respond(200, says[request.path]) if request.path in says else answer(request)

    async with ScriptedUpstream(otherwise=otherwise) as upstream:
        plugins = [
            receipts,
            build_plugin(Thinking, "thinking"),
            build_plugin(ServerTools, "server-tools"),
            build_plugin(ToolRepair, "tool-repair"),
            build_plugin(ContextGuard, "context-guard"),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Router, "router", models={"*": [f"up/{MODELS.get(name, 'm')}"]}),
            SERVERS[name].plugin(upstream.url),
        ]
        async with gateway(plugins) as running:
            yield running, upstream, receipts


async def send(
    name: str, body: dict[str, Any], betas: str = "", says: Mapping[str, Any] = NOTHING
) -> Sent:
    """Sends a request through the gateway, and asks what it would send."""
    async with serving(name, says) as (running, upstream, receipts):
        if betas:
            running.client.headers["anthropic-beta"] = betas
        response = await running.post(body)
        assert response.status_code == 200, response.text
        with anyio.fail_after(5):
            await receipts.done.wait()
        lines = receipts.lines
        found = [r for r in upstream.requests if r.path.split("?")[0].endswith(SERVERS[name].path)]
        explained = (await running.post(body, "/v1/messages/explain")).json()
        return Sent(SERVERS[name].read(found[0]), lines, explained, found[0].json)
