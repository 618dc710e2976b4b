"""The plugin keeps the rules of all plugins, in a gateway with and without local models."""

import pytest

from plugway.testing import FeatureContract, build_plugin, gateway
from plugway_echo import Echo
from plugway_memory import MemoryPlugin

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = MemoryPlugin


async def test_a_backend_without_models_in_memory_is_left_alone():
    plugins = [build_plugin(MemoryPlugin, "memory"), build_plugin(Echo, "echo")]
    async with gateway(plugins) as g:
        message = await g.ask("hello")
        report = await plugins[0].report()
    assert message["role"] == "assistant"
    assert not report.models
    assert report.total > report.reserve > 0
