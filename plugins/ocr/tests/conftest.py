"""A plugin whose engine needs no model, backends with and without vision, beside the plugin."""

from pathlib import Path

import pytest

from plugway import ModelInfo
from plugway.testing import PlainBackend, PlainOptions, build_plugin
from plugway_media.engine import EngineSpec
from plugway_ocr import Ocr, _plugin


class Models(PlainBackend):
    """Lists models that accept images, that do not, and one of which that is not known."""

    kinds = {"blind": {"tools"}, "seeing": {"tools", "images"}, "unknown": set()}

    async def models(self):
        return [ModelInfo(n, capabilities=frozenset(c)) for n, c in self.kinds.items()]


class Loading(PlainBackend):
    """Knows what its model can do once it is loaded."""

    able = frozenset({"tools"})
    state = "unloaded"

    async def models(self):
        able = self.able if self.state == "loaded" else frozenset()
        return [ModelInfo("late", capabilities=able, state=self.state)]

    async def load(self, model):
        self.state = "loaded"

    async def unload(self, model):
        self.state = "unloaded"
        return True


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Creates the plugin with the fake engine."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def spec(engine, languages=(), **more):
        return EngineSpec("fake", "fake_reader:main", 1 << 20, **more)

    monkeypatch.setattr(_plugin, "engine_spec", spec)
    monkeypatch.setattr(_plugin, "problem_of", lambda engine: "")
    return lambda **options: build_plugin(Ocr, "ocr", **options)


@pytest.fixture
def backend():
    return Models(PlainOptions(), name="up")


@pytest.fixture
def loading():
    return Loading(PlainOptions(), name="local")
