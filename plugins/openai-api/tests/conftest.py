"""A gateway with the plugin in front of a backend, and the real `openai` SDK as its client."""

from contextlib import asynccontextmanager

import openai
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_echo import Echo
from plugway_openai_api import OpenAIApi


class Running:
    """A gateway, a client of it, and the upstream behind it if there is one."""

    def __init__(self, gate, client, upstream=None):
        self.gate = gate
        self.client = client
        self.upstream = upstream

    @property
    def asked(self):
        """The body of the last Messages request that reached the upstream."""
        return self.upstream.requests[-1].json


@pytest.fixture(name="serving")
def serving_fixture():
    """`async with serving(backend) as running: ...`"""
    return serving


@pytest.fixture(name="client_of")
def client_of_fixture():
    """`async with client_of(gate) as client: ...`"""
    return client_of


@asynccontextmanager
async def serving(*backends, upstream=None, options=None, between=(), **server):
    plugin = build_plugin(OpenAIApi, "openai-api", **(options or {}))
    plugins = [plugin, *between, *backends]
    async with gateway(plugins, **server) as gate, client_of(gate) as client:
        yield Running(gate, client, upstream)


@asynccontextmanager
async def client_of(gate, **options):
    settings = {"base_url": f"{gate.url}/v1", "api_key": gate.token, "max_retries": 0, **options}
    plain = openai.DefaultAsyncHttpxClient(verify=False)  # reading certificates would take longest
    async with openai.AsyncOpenAI(**settings, http_client=plain) as client:
        yield client


@pytest.fixture
async def echo():
    async with serving(build_plugin(Echo, "echo")) as running:
        yield running


@pytest.fixture
async def claude():
    """In front of an upstream of the Messages API that says what a test tells it to."""
    async with ScriptedUpstream() as upstream:
        backend = build_plugin(AnthropicCompatible, "claude", base_url=upstream.url, models=["m"])
        async with serving(backend, upstream=upstream) as running:
            yield running
