"""What holds for every backend holds for this one."""

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from codex_parts import login, message, response, streamed

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_codex import Codex


class TestContract(BackendContract):
    plugin = Codex

    @asynccontextmanager
    async def upstream(self):
        answer = streamed(response(message("Hello.")))
        with tempfile.TemporaryDirectory() as folder:
            login(Path(folder))
            async with ScriptedUpstream(otherwise=answer) as server:
                yield {"base_url": server.url, "home": folder, "models": ["test-model"]}
