"""The plugin with a program that has Piper's options, and a gateway with OpenAI's SDK in front."""

import json
import sys
from pathlib import Path

import pytest
from with_sdk import serving

from plugway.testing import build_plugin
from plugway_text_to_speech import TextToSpeech

CONFIG = {
    "audio": {"sample_rate": 22050},
    "phoneme_id_map": {},
    "espeak": {"voice": "en-us"},
    "language": {"code": "en_US"},
}


def voice(folder, name, **more):
    """The two files of a voice."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    path.write_bytes(b"\x08\x08" + b"\0" * 50)
    path.with_name(f"{name}.onnx.json").write_text(json.dumps({**CONFIG, **more}))
    return path


@pytest.fixture(name="voice")
def voice_fixture():
    return voice


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def piper(tmp_path):
    """The program."""
    path = tmp_path / "piper"
    path.write_text(f"#!{sys.executable}\n{(Path(__file__).parent / 'fake_piper.py').read_text()}")
    path.chmod(0o755)
    return path


@pytest.fixture
def make(monkeypatch, tmp_path, piper):
    """Creates the plugin with two voices."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    voices = [voice(tmp_path / "v", "en_US-ann"), voice(tmp_path / "v", "de_DE-bert")]
    return lambda **options: build_plugin(
        TextToSpeech,
        "text-to-speech",
        **{"voices": [str(path) for path in voices], "piper": str(piper), **options},
    )


@pytest.fixture(name="serving")
def serving_fixture():
    """`async with serving(plugin) as (gateway, sdk): ...`"""
    return serving
