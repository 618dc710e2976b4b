"""A plugin whose engine needs no weights, and pictures that give it orders."""

from dataclasses import replace
from pathlib import Path

import pytest

from plugway.testing import PlainBackend, PlainOptions, build_plugin
from plugway_upscale import Upscale, _plugin
from plugway_upscale._models import engine_spec


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def use_fake_engine(monkeypatch, tmp_path):
    """Lets a module of the plugin start the fake engine; what is given replaces its facts."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def use(module, **facts):
        def spec(*names, **more):
            return replace(engine_spec(*names, **more), entry="fake_enlarger:main", **facts)

        monkeypatch.setattr(module, "engine_spec", spec)

    return use


@pytest.fixture
def make(monkeypatch, use_fake_engine):
    """Creates the plugin with the fake engine."""
    use_fake_engine(_plugin, size=1 << 20)
    monkeypatch.setattr(_plugin, "problem", lambda: "")
    return lambda **options: build_plugin(Upscale, "upscale", **options)


@pytest.fixture
def backend():
    return PlainBackend(PlainOptions(), name="up")
