"""What holds for every backend holds for this one."""

from contextlib import asynccontextmanager

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_anthropic import Anthropic


class TestContract(BackendContract):
    plugin = Anthropic
    options = {"api_key": "test-key"}

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream() as upstream:
            yield {"base_url": upstream.url}
