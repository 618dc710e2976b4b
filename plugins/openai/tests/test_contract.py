"""What holds for every backend holds for this one, by either API."""

from contextlib import asynccontextmanager

from openai_answers import CHAT_STREAM, answering, response, scripted

from plugway.testing import BackendContract
from plugway_openai import OpenAI


class TestResponses(BackendContract):
    plugin = OpenAI
    options = {"api_key": "test-key"}

    @asynccontextmanager
    async def upstream(self):
        async with answering(scripted(response())) as server:
            yield {"base_url": server.url}


class TestChat(BackendContract):
    plugin = OpenAI
    options = {"api_key": "test-key", "api": "chat"}

    @asynccontextmanager
    async def upstream(self):
        async with answering(lambda _: CHAT_STREAM) as server:
            yield {"base_url": server.url}
