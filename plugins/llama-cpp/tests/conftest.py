"""Real llama.cpp on tiny models with random weights; every test has folders of its own."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from running_engine import Alone, Engine

from plugway_llama_cpp import LlamaCpp, LlamaCppOptions

sys.path.insert(0, str(Path(__file__).parent))

import tiny_gguf  # noqa: E402


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Models that see all, slide over 64 tokens in every layer, are half and wholly recurrent."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "full": tiny_gguf.write(folder / "full.gguf", "llama"),
        "sliding": tiny_gguf.write(folder / "sliding.gguf", "gemma3"),
        "hybrid": tiny_gguf.write(folder / "hybrid.gguf", "lfm2"),
        "recurrent": tiny_gguf.write(folder / "recurrent.gguf", "mamba"),
    }


EXACT = {"kv_type": "f32", "flash_attention": "off"}
"""So exact that the size of a batch changes no choice of a token."""


@asynccontextmanager
async def run_engine(path, *, limit_seconds=60, **options):
    settings = {"threads": 1, "context": 4096, "slots": 4, "seed": 7, **EXACT, **options}
    plugin = LlamaCpp(LlamaCppOptions(model=str(path), **settings), name="local")
    with anyio.fail_after(limit_seconds):
        async with plugin.lifespan(Alone(plugin.backend)):
            yield Engine(plugin)


@pytest.fixture
def engine():
    """`async with engine(path, slots=2) as e: await e.say("hello")`."""
    return run_engine
