"""The demo model on MLX's CPU backend, if the extra is installed; every test has its own folders."""

from contextlib import asynccontextmanager

import anyio
import pytest
from running_engine import Engine

from plugway_mlx import Mlx, MlxOptions
from plugway_mlx._installed import missing_engine


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


@asynccontextmanager
async def run_engine(model="demo", *, limit_seconds=100, held=False, **options):
    settings = {"context": 4096, "slots": 4, "seed": 7, **options}
    plugin = Mlx(MlxOptions(model=str(model), **settings), name="local")
    plugin.backend.hold_demo = held
    with anyio.fail_after(limit_seconds):
        async with plugin.lifespan():
            yield Engine(plugin)


@pytest.fixture
def engine():
    """`async with engine(slots=2) as e: await e.say("hello")`."""
    if missing := missing_engine():
        pytest.skip(missing)
    return run_engine
