"""Loading and unloading a model in the engine that runs here."""

import pytest

from plugins.mcp.tests.shape import call, client_of, running
from plugins.switch.tests.talk import Client
from plugway.testing import build_plugin
from plugway_llama_cpp import LlamaCpp

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_a_model_is_loaded_answers_and_is_unloaded():
    engine = build_plugin(LlamaCpp, "local", preload=False, context=2048, disk_cache_mib=0, slots=1)
    async with running(engine) as gate, client_of(gate) as session:
        assert (await call(session, "model_list")).endswith("`local/demo` (local): unloaded")
        assert await call(session, "model_load", {"model": "demo"}) == "`local/demo` is loaded."
        assert ": loaded" in await call(session, "model_list")
        client = Client(gate, model="anything")
        said = await client.say("@plugway use demo")
        assert said.startswith("This conversation is served by `local/demo` (local, window 2,048")
        await client.say("What is 2 plus 2?")
        assert client.last.headers["plugway-receipt"].startswith("served-by=local/demo")
        assert await call(session, "model_unload", {"model": "demo"}) == "`local/demo` is unloaded."
        assert (await call(session, "model_list")).endswith(": unloaded")
