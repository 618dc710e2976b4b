"""What holds for every backend holds for a pool, whatever its servers are."""

from contextlib import asynccontextmanager

import pytest
from engines import QUIET

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_openai_wire.testing import chat_server
from plugway_pool import Pool


class PoolContract(BackendContract):
    plugin = Pool
    options = {"servers": ["http://127.0.0.1:1"], **QUIET}

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream() as upstream:
            yield {"servers": [upstream.url]}


class TestMessages(PoolContract):
    options = {**PoolContract.options, "kind": "messages"}


class TestVllm(PoolContract):
    pass


class TestSglang(PoolContract):
    options = {**PoolContract.options, "kind": "sglang", "server_options": {"learn": False}}

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream(otherwise=chat_server()) as upstream:
            yield {"servers": [upstream.url]}


class TestLlamaServer(PoolContract):
    options = {**PoolContract.options, "kind": "llama-server"}


del PoolContract, BackendContract
pytestmark = pytest.mark.timeout(60)
