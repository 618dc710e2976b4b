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
def make(monkeypatch, tmp_path):
    """Creates the plugin with the fake engine."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def spec(*names, **more):
        made = engine_spec(*names, **more)
        return replace(made, entry="fake_enlarger:main", size=1 << 20)

    monkeypatch.setattr(_plugin, "engine_spec", spec)
    monkeypatch.setattr(_plugin, "problem", lambda: "")
    return lambda **options: build_plugin(Upscale, "upscale", **options)


@pytest.fixture
def backend():
    return PlainBackend(PlainOptions(), name="up")
