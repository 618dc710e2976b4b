"""The plugin keeps the rules of all plugins, in a gateway with and without local models."""

from contextlib import contextmanager
from functools import partial

import anyio
import pytest
from machine import Engine, Machine, Owner

from plugway import Options
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


@pytest.mark.parametrize("stream", [True, False])
async def test_in_a_gateway_models_take_turns_and_are_free_when_their_replies_ended(stream):
    machine = Machine()
    plugin, owner = build_plugin(MemoryPlugin, "memory"), Owner(Options(), name="e")
    plugin.read = machine.read
    owner.engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with gateway([plugin, owner]) as g:
        ask = g.stream if stream else g.ask
        for _ in range(2):
            for model in "ab":
                await ask("hello", model=f"e/{model}")
        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(partial(ask, "hello", model=f"e/{'ab'[number % 2]}"))
        assert owner.engine.unloaded[:3] == ["a", "b", "a"]
        assert owner.engine.busy == {"a": 0, "b": 0}
        report = await plugin.report()
    assert len(report.models) == 1
    assert report.models[0][1].requests == 0


async def test_a_client_that_leaves_does_not_keep_its_model_busy():
    machine = Machine()
    plugin, owner = build_plugin(MemoryPlugin, "memory"), Owner(Options(), name="e")
    plugin.read = machine.read
    owner.engine = Engine(machine, "e", {"a": 10, "b": 10})
    held = anyio.Event()

    async def events(attempt):
        async for event in Engine.events(owner.engine, attempt):
            yield event
            if event.type == "content_block_delta":
                held.set()
                await anyio.sleep_forever()

    async with gateway([plugin, owner]) as g:
        with monkey(owner.engine, events=events):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(g.stream, "hello", model="e/a"))
                await held.wait()
                assert (await plugin.report()).models[0][1].requests == 1
                group.cancel_scope.cancel()
        await g.ask("hello", model="e/b")
        assert owner.engine.unloaded == ["a"]


@contextmanager
def monkey(engine, **changes):
    vars(engine).update(changes)
    yield
    for name in changes:
        del vars(engine)[name]
