"""The backends of the matrix, each in front of a scripted server, behind every dialect."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from plugway import (
    Attempt,
    Exchange,
    MessagesRequest,
    NoOptions,
    Outcome,
    Plugin,
    Reply,
    Upstream,
    hookimpl,
)
from plugway.testing import (
    Gateway,
    ReceivedRequest,
    ScriptedUpstream,
    build_plugin,
    gateway,
    refusals,
    respond,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_gemini_api import GeminiApi
from plugway_llama_cpp import LlamaCpp
from plugway_local_engine import Frame
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router
from plugway_server_tools import ServerTools
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair
from tests.matrix.answered import Answer
from tests.matrix.streams import as_stream


@dataclass(frozen=True)
class Server:
    """A backend and the API of what stands behind it."""

    title: str
    api: str
    model: str
    plugin: Callable[[str], Plugin[Any]]
    without: tuple[str, ...] = ()
    """Rules of the vendor that a server does not have which only speaks the vendor's API."""


def _made(kind: type[Plugin[Any]], path: str = "", **options: Any) -> Callable[[str], Plugin[Any]]:
    return lambda url: build_plugin(kind, "up", base_url=f"{url}{path}", **options)


def _local(url: str) -> Plugin[Any]:
    del url
    return build_plugin(
        LlamaCpp, "up", model="demo", temperature=0, disk_cache_mib=0, threads=1, preload=False
    )


_NO_KEY = ("key_header",)
SERVERS: Mapping[str, Server] = {
    "anthropic": Server(
        "Anthropic", "messages", "claude-sonnet-4-6", _made(Anthropic, api_key="k")
    ),
    "anthropic-compatible": Server(
        "a server of the Messages API",
        "messages",
        "m",
        _made(AnthropicCompatible, zone="vendor"),
        _NO_KEY,
    ),
    "openai-compatible": Server(
        "a server of Chat Completions", "chat", "m", _made(OpenAICompatible, "/v1"), _NO_KEY
    ),
    "openai": Server("OpenAI (Responses)", "responses", "gpt-5", _made(OpenAI, "/v1", api_key="k")),
    "gemini": Server("Gemini", "gemini", "gemini-3-pro", _made(Gemini, api_key="k")),
    "ollama": Server("Ollama", "messages", "qwen3", _made(Ollama), _NO_KEY),
    "llama-cpp": Server("llama.cpp in the gateway", "engine", "demo", _local),
}
"""By the name of the plugin."""


class Spy(Plugin[NoOptions]):
    """Keeps what the receipts say, and what is handed to the backend."""

    def __init__(self) -> None:
        super().__init__(NoOptions(), name="spy")
        self.lines: list[str] = []
        self.handed: list[Mapping[str, Any]] = []
        self.done = anyio.Event()

    @hookimpl
    async def around_attempt(
        self, send: Any, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """The request as the backend gets it."""
        self.handed.append(request.body)
        return await send(request, attempt)

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """The lines of changes."""
        quiet = ("route", "layer")
        self.lines = [entry.what for entry in exchange.receipt if entry.stage not in quiet]
        self.done.set()


class Worker:
    """Stands before the worker of a model on this machine: answers as it is told to, if it is."""

    def __init__(self, own: Any, running: Running) -> None:
        self._own = own
        self._running = running
        self._said: dict[bytes, tuple[list[Any], Mapping[str, Any] | None]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    async def call(self, header: Mapping[str, Any], body: bytes = b"") -> Any:
        """A request for the worker."""
        if header["op"] != "generate":
            return await self._own.call(header, body)
        answer: Any = self._running.answer
        answer = answer(json.loads(body)) if callable(answer) else answer
        if answer is not None and not self._running.asks:
            return _Told(answer["ops"])
        if answer is not None:
            body = json.dumps({**json.loads(body), "max_tokens": 1}).encode()
        if body not in self._said:  # dialects often come to the same request
            self._said[body] = await self._says(header, body)
        ops, failed = self._said[body]
        if answer is not None and not failed:
            ops = [*(op for op in ops if op[0] == "note"), *answer["ops"]]
        return _Told(ops, failed)

    async def _says(
        self, header: Mapping[str, Any], body: bytes
    ) -> tuple[list[Any], Mapping[str, Any] | None]:
        """What the worker says to a request, and how it fails, if it does."""
        call = await self._own.call(header, body)
        frames = [frame.header async for frame in call]
        await call.aclose()
        if failed := next((frame for frame in frames if "error" in frame), None):
            return [], failed
        return [op for frame in frames for op in frame.get("ops", ())], None


class _Told:
    begun = False

    def __init__(self, ops: Any, last: Mapping[str, Any] | None = None) -> None:
        self._frames = deque([Frame({"ops": [op]}) for op in ops])
        self._frames.append(Frame(last or {"ops": [], "end": True}))

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while self._frames:
            yield self._frames.popleft()

    async def aclose(self) -> None:
        """Nothing is open."""


_STRICT: Mapping[str, Any] = {
    "messages": "anthropic",
    "chat": "chat",
    "responses": "responses",
    "gemini": "gemini",
}


def _infers(path: str) -> bool:
    return "count" not in path.lower() and not path.startswith("/api/")


@dataclass
class Running:
    """A gateway with one backend."""

    server: Server
    client: Upstream
    """Of the gateway; the light one that backends use."""
    upstream: ScriptedUpstream
    spy: Spy
    answer: Answer | Callable[[Mapping[str, Any]], Answer] | None = None
    """What the server says next, to every request."""
    asks: bool = False
    """The worker of a model on this machine gets the request too, for what it says of it."""

    def script(self, request: ReceivedRequest) -> Any:
        """What the server sends."""
        path = request.path.split("?")[0]
        if request.method == "GET" or "count" in path.lower() or path.startswith("/api/"):
            return respond(404, {"error": {"message": "not found"}})
        body = request.json
        answer = self.answer(body) if callable(self.answer) else self.answer
        assert answer is not None
        if body.get("stream") or ":stream" in path:
            return as_stream(self.server.api, answer)
        return respond(200, answer)

    async def ask(self, path: str, body: Mapping[str, Any]) -> Exchanged:
        """One request, and what came of it."""
        self.spy.done = anyio.Event()
        self.spy.lines, self.spy.handed = [], []
        del self.upstream.requests[:]
        raw, lines = json.dumps(body).encode(), (("content-type", "application/json"),)
        reply = await self.client.request("POST", path, body=raw, headers=lines)
        whole = await reply.read()
        if self.spy.handed:
            with anyio.fail_after(5):
                await self.spy.done.wait()
        sent = [r for r in self.upstream.requests if r.method == "POST" and _infers(r.path)]
        arrived = [r.json for r in sent] if self.server.api != "engine" else self.spy.handed
        refused = self._refusals(sent[0]) if sent else []
        return Exchanged(reply.status, whole, self.spy.lines, arrived, refused)

    def _refusals(self, request: ReceivedRequest) -> list[str]:
        """What the vendor would have refused."""
        api, headers = _STRICT[self.server.api], request.headers
        return refusals(api, headers, request.path, request.json, without=self.server.without)


@dataclass(frozen=True)
class Exchanged:
    """What came of one request."""

    status: int
    body: bytes
    lines: list[str]
    """Of its receipt."""
    arrived: list[Mapping[str, Any]]
    """What came to the server, in order."""
    refusals: list[str]
    """What the vendor of the API would have said to the first of it, instead of an answer."""

    @property
    def json(self) -> Any:
        """The reply."""
        return json.loads(self.body)


@asynccontextmanager
async def serving(name: str) -> AsyncGenerator[Running]:
    """The usual stack in front of one server."""
    server, spy = SERVERS[name], Spy()

    def otherwise(request: ReceivedRequest) -> Any:
        return running.script(request)

    async with ScriptedUpstream(otherwise=otherwise) as upstream:
        backend = server.plugin(upstream.url)
        plugins = [
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(GeminiApi, "gemini-api"),
            build_plugin(Thinking, "thinking"),
            build_plugin(ErrorNormalizer, "error-normalizer"),
            build_plugin(ServerTools, "server-tools"),
            build_plugin(ToolRepair, "tool-repair"),
            build_plugin(ContextGuard, "context-guard"),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Router, "router", models={"*": [f"up/{server.model}"]}),
            spy,
            backend,
        ]
        async with gateway(plugins) as found, _client_of(found) as client:
            running = Running(server, client, upstream, spy)
            if server.api == "engine":
                await _behind(backend, running)
            yield running


def _client_of(gateway: Gateway) -> Upstream:
    return Upstream(gateway.url, credentials={"authorization": f"Bearer {gateway.token}"})


async def _behind(backend: Any, running: Running) -> None:
    """Put `Worker` in front of the real one."""
    backend.backend.hold_demo = False  # which calls the demonstration may make is no translation
    loader = backend.backend.loader
    loaded = await loader.get("")
    object.__setattr__(loaded, "supervisor", Worker(loaded.supervisor, running))
