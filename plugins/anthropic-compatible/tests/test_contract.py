"""What holds for every backend holds for this one."""

from contextlib import asynccontextmanager

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_anthropic_compatible import AnthropicCompatible


class TestContract(BackendContract):
    plugin = AnthropicCompatible
    options = {"base_url": "http://127.0.0.1:1"}

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream() as upstream:
            yield {"base_url": upstream.url}
