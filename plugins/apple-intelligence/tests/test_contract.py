"""What holds for every backend holds for both ways."""

import sys
from contextlib import asynccontextmanager

import pytest
from apple_fake import fake
from apple_servers import fm_serve

from plugway.testing import BackendContract, ScriptedUpstream
from plugway_apple_intelligence import AppleIntelligence

__all__ = ["fake"]


class TestServer(BackendContract):
    plugin = AppleIntelligence
    model = "system"

    @asynccontextmanager
    async def upstream(self):
        async with ScriptedUpstream(otherwise=fm_serve()) as upstream:
            yield {"base_url": f"{upstream.url}/v1"}


@pytest.mark.usefixtures("fake")
class TestInProcess(BackendContract):
    plugin = AppleIntelligence
    options = {"run": "in-process"}
    model = "system"

    async def test_an_upstream_that_is_not_there_is_a_backend_error(self):
        """There is no upstream; see `test_in_process` for a Mac that has no model."""
        async with self.backend() as backend:
            assert not hasattr(backend, "upstream")


def test_listing_the_plugin_imports_no_sdk():
    assert "plugway_apple_intelligence" in sys.modules
    assert "apple_fm_sdk" not in sys.modules
