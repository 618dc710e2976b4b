"""The plugin with an engine that needs no model, and a gateway with OpenAI's SDK in front of it."""

from pathlib import Path

import pytest
from with_sdk import serving

from plugway.testing import build_plugin
from plugway_media.engine import EngineSpec
from plugway_speech_to_text import SpeechToText, _commands, _plugin

HEAD = b"RIFF\x24\0\0\0WAVE"


def sound(says):
    """A file in which the fake engine hears these words."""
    return HEAD + b"says:" + says.encode()


@pytest.fixture(name="sound")
def sound_fixture():
    return sound


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Puts the fake engine in place of the real ones."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def spec(model, *, seconds=60.0, idle_seconds=300.0, **config):
        config = {"gate": str(tmp_path / "gate")}
        return EngineSpec(
            model, "fake_ear:main", 1 << 20, config, seconds=seconds, idle_seconds=idle_seconds
        )

    for module in (_plugin, _commands):
        monkeypatch.setattr(module, "engine_spec", spec)
        monkeypatch.setattr(module, "problem_of", lambda model: "")


@pytest.fixture
def make(fake):
    """Creates the plugin with the fake engine."""
    return lambda **options: build_plugin(
        SpeechToText, "speech-to-text", **{"models": ["org/tiny.en", "org/base"], **options}
    )


@pytest.fixture(name="serving")
def serving_fixture():
    """`async with serving(plugin) as (gateway, sdk): ...`"""
    return serving
