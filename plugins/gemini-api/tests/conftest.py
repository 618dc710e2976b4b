"""A gateway with the plugin in front of a backend, and a plain client that speaks Gemini's API."""

from contextlib import asynccontextmanager

import orjson
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini_api import GeminiApi

USER = [{"role": "user", "parts": [{"text": "hi"}]}]


class Running:
    """A gateway, and the upstream behind it if there is one."""

    def __init__(self, gate, upstream=None):
        self.gate = gate
        self.upstream = upstream

    @property
    def asked(self):
        """The body of the last Messages request that reached the upstream."""
        return self.upstream.requests[-1].json

    async def post(
        self, body, method="generateContent", model="claude/m", query="", version="v1beta"
    ):
        """The answer to one request."""
        return await self.gate.post(body, f"/{version}/models/{model}:{method}{query}")

    async def generate(self, method="generateContent", **fields):
        """The answer to `hi`, with more fields."""
        return await self.post({"contents": USER, **fields}, method)

    async def stream(self, query="?alt=sse", **fields):
        """The answers that a stream consists of."""
        answer = await self.post({"contents": USER, **fields}, "streamGenerateContent", query=query)
        assert answer.status_code == 200, answer.text
        if "alt=sse" not in query:
            return answer.json()
        blocks = [b for b in answer.text.split("\r\n\r\n") if b]
        return [orjson.loads(b.removeprefix("data: ")) for b in blocks]


@pytest.fixture(name="serving")
def serving_fixture():
    """`async with serving(backend) as running: ...`"""
    return serving


@asynccontextmanager
async def serving(*backends, upstream=None, options=None, between=(), **server):
    plugin = build_plugin(GeminiApi, "gemini-api", **(options or {}))
    async with gateway([plugin, *between, *backends], **server) as gate:
        yield Running(gate, upstream)


@pytest.fixture
async def claude():
    """In front of an upstream of the Messages API that says what a test tells it to."""
    async with ScriptedUpstream() as upstream:
        backend = build_plugin(AnthropicCompatible, "claude", base_url=upstream.url, models=["m"])
        async with serving(backend, upstream=upstream) as running:
            yield running
