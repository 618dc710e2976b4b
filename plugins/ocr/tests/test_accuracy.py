"""Thirty screenshots through the real engines, in their workers."""

import io
import time
from pathlib import Path

import anyio
import psutil
import pytest
from screens import GERMAN, TRACEBACK, drawn, errors, font, plain, screens

from plugway import RequestRejected
from plugway_media.engine import Engine
from plugway_ocr._engines import engine_spec, problem_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(900)]

LEAST = 0.98
"""Share of characters that must be right."""


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def engine(request, monkeypatch, tmp_path):
    name = getattr(request, "param", "rapidocr")
    if problem := problem_of(name):
        pytest.skip(problem)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = Engine("ocr", engine_spec(name))
    yield made
    await made.aclose()


def right(wanted, found):
    """Share of the characters that are right, without the layout."""
    wanted, found = plain(wanted), plain(found)
    return 1 - errors(wanted, found) / len(wanted)


async def test_nearly_all_characters_are_right(engine):
    await engine.load()
    worker = psutil.Process(engine.pid)
    wrong, total, by_look, seconds = 0, 0, {}, []
    for screen in screens():
        before = sum(worker.cpu_times()[:2])
        found = (await engine.one({}, screen.png)).header["text"]
        seconds.append(sum(worker.cpu_times()[:2]) - before)
        missed, size = errors(plain(screen.text), plain(found)), len(plain(screen.text))
        wrong, total = wrong + missed, total + size
        look = screen.name.split(", ")[1]
        some, all_ = by_look.get(look, (0, 0))
        by_look[look] = (some + missed, all_ + size)
    assert len(seconds) == 30
    report = {look: round(1 - some / all_, 4) for look, (some, all_) in by_look.items()}
    mean = sum(seconds) / len(seconds)
    print(f"right: {report}; CPU seconds: {mean:.2f} on average, {max(seconds):.2f} at most")
    assert min(report.values()) >= LEAST, report
    assert 1 - wrong / total >= LEAST
    # Two cores share the work, so that a picture takes about half of that where nothing else runs.
    assert mean < 2.0


async def test_columns_and_indentation_are_kept(engine):
    found = (await engine.one({}, drawn(TRACEBACK, "dark"))).header["text"]
    assert found == TRACEBACK


@pytest.mark.parametrize("spacing", [1.15, 1.2, 1.5])
async def test_lines_may_be_as_close_as_in_terminals(engine, spacing):
    found = (await engine.one({}, drawn(TRACEBACK, "light", spacing=spacing))).header["text"]
    assert plain(found) == plain(TRACEBACK)


async def test_a_scanned_page_is_read(engine):
    from PIL import Image

    page, out = Image.new("RGB", (1654, 2339), "white"), io.BytesIO()
    page.paste(Image.open(io.BytesIO(drawn(TRACEBACK, "light"))), (100, 150))
    page.save(out, "PDF", resolution=200)
    found = (await engine.one({}, out.getvalue())).header
    assert plain(TRACEBACK) in plain(found["text"])
    assert (found["pages"], found["left_out"]) == (1, 0)


@pytest.mark.parametrize("turn", [90, 180, 270])
async def test_a_picture_that_lies_on_its_side_or_head_is_read(engine, turn):
    from PIL import Image

    upright, out = Image.open(io.BytesIO(drawn(TRACEBACK, "light"))), io.BytesIO()
    upright.rotate(turn, expand=True).save(out, "PNG")
    found = (await engine.one({}, out.getvalue())).header
    assert plain(found["text"]) == plain(TRACEBACK)
    assert (found["width"], found["height"]) == upright.size, "boxes are those of the turned one"


async def test_umlauts_are_read(engine):
    found = (await engine.one({}, drawn(GERMAN, "light"))).header["text"]
    assert "größen v0.3.1 (/home/jörg/größen)" in found
    assert 'länge: u32 = "zwölf"' in found


async def test_a_table_in_another_font_becomes_markdown(engine):
    from PIL import Image, ImageDraw, ImageFont

    place = Path(font(12).path).parent / "DejaVuSans.ttf"
    face = ImageFont.truetype(place, 22)
    rows = [
        ("Region", "Orders", "Revenue"),
        ("North", "1204", "88,310"),
        ("South", "977", "71,045"),
    ]
    rows += [("West", "1450", "90,112")]
    picture = Image.new("RGB", (620, 260), "white")
    draw = ImageDraw.Draw(picture)
    for number, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            draw.text((40 + 200 * column, 30 + 50 * number), cell, "black", font=face)
    out = io.BytesIO()
    picture.save(out, "PNG")
    lines = (await engine.one({}, out.getvalue())).header["text"].splitlines()
    assert lines[0] == "| Region | Orders | Revenue |"
    assert lines[1] == "| --- | --- | --- |"
    assert lines[-1] == "| West | 1450 | 90,112 |"


async def test_a_picture_without_text_has_none(engine):
    found = (await engine.one({}, drawn(" ", "light"))).header
    assert found["text"] == ""
    assert found["lines"] == []


async def test_a_killed_worker_is_one_failed_request(engine):
    await engine.load()
    before = engine.pid
    failures = []

    async def ask():
        try:
            await engine.one({}, drawn(TRACEBACK))
        except RequestRejected as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        worker = psutil.Process(before)
        spent = worker.cpu_times().user
        with anyio.fail_after(60):
            while worker.cpu_times().user < spent + 0.1:  # it reads
                await anyio.sleep(0.02)
        worker.kill()
    assert [error.status for error in failures] == [503]
    found = (await engine.one({}, drawn("all is well"))).header["text"]
    assert found == "all is well"
    assert engine.pid != before


@pytest.mark.parametrize("engine", ["tesseract"], indirect=True)
async def test_tesseract_reads_large_letters(engine):
    shares = {}
    for look in ("light", "dark"):
        found = (await engine.one({}, drawn(TRACEBACK, look, size=28))).header
        assert found["engine"] == "tesseract"
        shares[look] = right(TRACEBACK, found["text"])
    print(f"right: {shares}")
    assert min(shares.values()) > 0.93


async def test_the_largest_picture_ends_within_its_time(engine):
    text = "\n".join(TRACEBACK for _ in range(8))
    large = drawn(text, size=44)
    image = pytest.importorskip("PIL.Image")
    width, height = image.open(io.BytesIO(large)).size
    assert 8_000_000 < width * height < 20_000_000
    began = time.monotonic()
    found = (await engine.one({}, large)).header
    print(f"{width} x {height}: {time.monotonic() - began:.1f} s")
    assert right(text, found["text"]) > 0.95
