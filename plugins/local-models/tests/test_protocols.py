"""Backends and plugins are recognised by what they can do."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from plugway import Loads
from plugway_local_models import FreesCaches, HoldsModels, LoadedModel, MakesRoom, MemoryReport


class Engine:
    async def load(self, model):
        self.model = model

    async def unload(self, model):
        return model == self.model

    async def loaded(self):
        return [LoadedModel(self.model, size=5)]

    async def needs(self, model):
        return 5


class Arbiter:
    @asynccontextmanager
    async def loading(self, backend, model, size, note):
        note(f"{size} bytes for {backend}/{model}")
        yield

    async def obtainable(self, backend, model):
        return 5

    async def report(self):
        return MemoryReport(10, 5, 1)


class OnlyLoads:
    load, unload = Engine.load, Engine.unload


@pytest.mark.parametrize("protocol", [Loads, HoldsModels])
def test_an_engine_that_says_what_it_holds_is_recognised(protocol):
    assert isinstance(Engine(), protocol)


@pytest.mark.parametrize("protocol", [HoldsModels, FreesCaches, MakesRoom])
def test_a_backend_that_only_loads_does_not_take_part(protocol):
    assert not isinstance(OnlyLoads(), protocol)


def test_the_plugin_that_makes_room_is_no_engine():
    assert isinstance(Arbiter(), MakesRoom)
    assert not isinstance(Arbiter(), HoldsModels)


def test_what_is_not_known_about_a_model_is_zero_or_none():
    model = LoadedModel("m")
    assert (model.size, model.requests, model.context_tokens) == (0, 0, 0)
    assert model.idle_seconds is None


@pytest.mark.parametrize(
    ("state", "takes"), [("loaded", True), ("loading", True), ("failed", False)]
)
def test_a_model_that_failed_takes_no_memory(state, takes):
    assert LoadedModel("m", state=state).in_memory is takes
