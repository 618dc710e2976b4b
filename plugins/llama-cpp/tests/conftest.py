"""Real llama.cpp on tiny models with random weights; every test has folders of its own."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import orjson
import pytest

from plugway import Attempt, Caller, Exchange, MessagesRequest
from plugway_llama_cpp import LlamaCpp, LlamaCppOptions
from plugway_wire.events import collect

sys.path.insert(0, str(Path(__file__).parent))

import tiny_gguf  # noqa: E402


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Models that see all, slide over 64 tokens in every layer, are half and wholly recurrent."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "full": tiny_gguf.write(folder / "full.gguf", "llama"),
        "sliding": tiny_gguf.write(folder / "sliding.gguf", "gemma3"),
        "hybrid": tiny_gguf.write(folder / "hybrid.gguf", "lfm2"),
        "recurrent": tiny_gguf.write(folder / "recurrent.gguf", "mamba"),
    }


EXACT = {"kv_type": "f32", "flash_attention": "off"}
"""So exact that the size of a batch changes no choice of a token."""


class Engine:
    """A running plugin and short ways to ask it."""

    def __init__(self, plugin):
        self.plugin = plugin
        self.backend = plugin.backend
        self.exchanges = []

    @property
    def notes(self):
        """What the engine put on receipts."""
        return [e.what for x in self.exchanges for e in x.receipt if e.stage == "engine"]

    @property
    def loaded(self):
        return next(iter(self.backend.loader.loaded.values()))

    @property
    def pid(self):
        return self.loaded.supervisor.pid

    async def ready(self):
        await (await self.backend.loader.get("")).supervisor.ready()
        return self

    def request(self, messages, *, session=None, agent=None, **fields):
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        body = {"model": "default", "max_tokens": 16, "temperature": 0, "messages": messages}
        headers = ()
        if session is not None:
            headers += (("x-claude-code-session-id", session),)
        if agent is not None:
            headers += (("x-claude-code-agent-id", agent),)
        return MessagesRequest(orjson.dumps({**body, **fields}), headers)

    def attempt(self, request, caller=""):
        """As the kernel makes it; `caller` is the name of one with a limited token."""
        limited = Caller(caller, models=("local/*",)) if caller else Caller()
        self.exchanges.append(Exchange(request, caller=limited))
        return Attempt(self.backend, "default", exchange=self.exchanges[-1])

    async def send(self, messages, *, caller="", **fields):
        request = self.request(messages, **fields)
        return await self.backend.send(request, self.attempt(request, caller))

    async def say(self, messages, **fields):
        """The whole message."""
        reply = await self.send(messages, **fields)
        try:
            return await collect(reply.events)
        finally:
            await reply.close()

    async def count(self, messages, *, caller="", **fields):
        request = self.request(messages, **fields)
        return await self.backend.count(request, self.attempt(request, caller))


class Alone:
    """A gateway with one backend, as a plugin sees it."""

    def __init__(self, backend):
        self.backend = backend

    def find(self, kind):
        return [("local", self.backend)] if isinstance(self.backend, kind) else []


@asynccontextmanager
async def run_engine(path, *, limit_seconds=60, **options):
    settings = {"threads": 1, "context": 4096, "slots": 4, "seed": 7, **EXACT, **options}
    plugin = LlamaCpp(LlamaCppOptions(model=str(path), **settings), name="local")
    with anyio.fail_after(limit_seconds):
        async with plugin.lifespan(Alone(plugin.backend)):
            yield Engine(plugin)


@pytest.fixture
def engine():
    """`async with engine(path, slots=2) as e: await e.say("hello")`."""
    return run_engine


def text_of(message):
    return "".join(block.get("text", "") for block in message["content"])


def reused(message):
    return message["usage"]["cache_read_input_tokens"]


def computed(message):
    return message["usage"]["input_tokens"]
