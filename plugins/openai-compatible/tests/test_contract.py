"""What holds for every backend holds for this one."""

from contextlib import asynccontextmanager

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_server


class TestContract(BackendContract):
    plugin = OpenAICompatible
    options = {"base_url": "http://127.0.0.1:9/v1", "learn": False}

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream(otherwise=chat_server()) as upstream:
            yield {"base_url": f"{upstream.url}/v1"}
