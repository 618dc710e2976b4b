"""The real engine, in its worker: `pip install './plugins/upscale[realesrgan]'`."""

import time
from pathlib import Path

import psutil
import pytest
from pictures import file_of, opened, plain
from PIL import Image, ImageChops, ImageDraw, ImageStat

from plugway import RequestRejected
from plugway_media.engine import Engine
from plugway_upscale._enlarging import enlarge
from plugway_upscale._models import MODELS, engine_spec, problem
from plugway_upscale._realesrgan import has_card

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def engine(request, monkeypatch, tmp_path):
    if missing := problem():
        pytest.skip(missing)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = Engine("upscale", engine_spec(getattr(request, "param", "fast"), "cpu", seconds=900.0))
    try:
        await made.load()
    except RequestRejected as error:
        if "libvulkan1" in error.message:
            pytest.skip(error.message)
        raise
    yield made
    await made.aclose()


def drawn(size):
    """Shapes with sharp edges: what a small picture of them loses can be restored."""
    picture = Image.new("RGB", size, "#f4f1e8")
    draw = ImageDraw.Draw(picture)
    width, height = size
    draw.ellipse((width * 0.1, height * 0.1, width * 0.6, height * 0.9), fill="#d2691e")
    draw.polygon(
        [(width * 0.5, height * 0.2), (width * 0.95, height * 0.5), (width * 0.55, height * 0.85)],
        fill="#234f8c",
    )
    draw.line((0, height * 0.95, width, height * 0.05), fill="black", width=max(2, width // 50))
    return picture


def difference(one, other):
    """The root mean square of the differences of all values, from 0 to 255."""
    values = ImageStat.Stat(ImageChops.difference(one, other)).rms
    return sum(values) / len(values)


async def result(engine, picture, scale):
    found = await enlarge(engine, file_of(picture), scale=scale, kind="png")
    return opened(b"".join(found.pieces)).convert("RGB")


@pytest.mark.parametrize(
    ("engine", "size"),
    [("fast", (320, 200)), ("drawing", (120, 80)), ("photo", (120, 80))],
    indirect=["engine"],
)
async def test_an_enlarged_picture_is_nearer_to_the_original_than_an_interpolated_one(engine, size):
    model = engine.spec.model
    for scale in (2, 3, 4) if model == "fast" else (4,):
        original = drawn((size[0] * scale, size[1] * scale))
        small = original.resize(size, Image.Resampling.BOX)
        found = await result(engine, small, scale)
        assert found.size == original.size
        blurred = small.resize(original.size, Image.Resampling.BICUBIC)
        ours, theirs = difference(found, original), difference(blurred, original)
        print(f"{model} x{scale}: {ours:.2f}, bicubic {theirs:.2f}")
        assert ours < 0.9 * theirs
    held = psutil.Process(engine.pid).memory_info().rss
    print(f"{model}: {held >> 20} MiB")
    assert held < MODELS[model].size


async def test_tiles_leave_no_seams(engine):
    """A row of pixels where two tiles meet differs from its neighbours no more than others do."""
    small = drawn((560, 300))
    found = await result(engine, small, 2)
    edge = 2 * MODELS["fast"].tile
    wanted = small.resize(found.size, Image.Resampling.BICUBIC)
    at_edge = difference(*(p.crop((edge - 1, 0, edge + 1, 600)) for p in (found, wanted)))
    elsewhere = difference(found, wanted)
    assert at_edge < 3 * elsewhere + 1


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (33, 2), (11, 12), (257, 11)])
async def test_odd_sizes_work(engine, size):
    for scale in (2, 3, 4):
        found = await result(engine, plain((200, 30, 30), size), scale)
        assert found.size == (size[0] * scale, size[1] * scale)
        assert difference(found, plain((200, 30, 30), found.size)) < 12


async def test_twenty_million_pixels_are_enlarged_within_the_memory_that_is_reserved(engine):
    picture = drawn((5000, 4000))
    started = time.monotonic()
    found = await enlarge(engine, file_of(picture), scale=2, kind="jpeg")
    assert (found.width, found.height) == (10_000, 8_000)
    worker = psutil.Process(engine.pid)
    peak = _peak(engine.pid)
    cpu = sum(worker.cpu_times()[:2])
    print(f"{time.monotonic() - started:.0f} s, CPU {cpu:.0f} s, peak {peak >> 20} MiB")
    assert peak < MODELS["fast"].size


def _peak(pid):
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


async def test_the_worker_has_no_connection(engine):
    await result(engine, plain("red"), 2)
    assert not [one for one in psutil.Process(engine.pid).net_connections() if one.raddr]


async def test_vulkan_without_a_graphics_card_is_refused_and_does_not_crash(monkeypatch, tmp_path):
    if missing := problem():
        pytest.skip(missing)
    if has_card():
        pytest.skip("this machine has a graphics card")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = Engine("upscale", engine_spec("fast", "vulkan"))
    with pytest.raises(RequestRejected, match=r"graphics card|libvulkan1"):
        await made.load()
    await made.aclose()
