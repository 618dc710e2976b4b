"""What holds for every backend holds for this one."""

from contextlib import asynccontextmanager

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_vllm import Vllm


class TestContract(BackendContract):
    plugin = Vllm
    options = {}

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream() as upstream:
            yield {"base_url": upstream.url}
