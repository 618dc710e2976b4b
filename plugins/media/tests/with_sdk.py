"""A gateway with one plugin, and OpenAI's SDK as its client."""

from contextlib import asynccontextmanager

import openai

from plugway.testing import build_plugin, gateway
from plugway_echo import Echo


@asynccontextmanager
async def serving(plugin):
    """The gateway and the SDK."""
    plain = openai.DefaultAsyncHttpxClient(verify=False)  # reading certificates would take longest
    async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
        settings = {"base_url": f"{running.url}/v1", "api_key": running.token, "max_retries": 0}
        async with openai.AsyncOpenAI(**settings, http_client=plain) as sdk:
            yield running, sdk
