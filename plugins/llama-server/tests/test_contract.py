"""What holds for every backend holds for this one."""

from contextlib import asynccontextmanager

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_llama_server import LlamaServer


class TestContract(BackendContract):
    plugin = LlamaServer
    options = {}

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream() as upstream:
            yield {"base_url": upstream.url}
