"""What holds for every backend holds for this one."""

from contextlib import asynccontextmanager

from gemini_answers import Server, hello

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_gemini import Gemini


class TestContract(BackendContract):
    plugin = Gemini
    options = {}
    model = "gemini-3-pro"

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream(otherwise=Server(hello())) as upstream:
            yield {"base_url": upstream.url}
