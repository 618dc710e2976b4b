"""MLX's CPU backend, if the extra is installed, on the demo model and on random weights."""

from contextlib import asynccontextmanager

import anyio
import pytest
import tiny_mlx
from running_engine import Alone, Engine

from plugway_mlx import Mlx, MlxOptions
from plugway_mlx._installed import missing_engine


@asynccontextmanager
async def run_engine(model="demo", *, limit_seconds=400, held=False, **options):
    settings = {"context": 4096, "slots": 4, "seed": 7, **options}
    plugin = Mlx(MlxOptions(model=str(model), **settings), name="local")
    plugin.backend.hold_demo = held
    with anyio.fail_after(limit_seconds):
        async with plugin.lifespan(Alone(plugin.backend)):
            yield await Engine(plugin).ready()


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`async with run("full", slots=2) as e: await e.say("hello")`; `demo`, or one of `tiny_mlx`.

    All engines of a module have the same folders.
    """
    if missing := missing_engine():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("mlx")
    written = {}

    def start(layout="demo", **options):
        if layout in tiny_mlx.LAYOUTS and layout not in written:
            written[layout] = tiny_mlx.write(folder / layout, layout)
        return run_engine(written.get(layout, layout), **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CACHE", "STATE", "CONFIG"):
            patch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
        yield start
