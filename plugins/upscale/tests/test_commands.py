"""`plugway upscale`, with the fake engine."""

import json
import os

import pytest
from pictures import file_of, noise, opened, plain, repeated
from typer.testing import CliRunner

from plugway_upscale import _commands

pytestmark = pytest.mark.timeout(60)
PICTURE = noise((300, 40))


@pytest.fixture
def run(monkeypatch, tmp_path, use_fake_engine):
    monkeypatch.chdir(tmp_path)
    use_fake_engine(_commands)
    monkeypatch.setattr(_commands, "problem", lambda: "")
    (tmp_path / "in.png").write_bytes(file_of(PICTURE))
    runner = CliRunner()
    return lambda *arguments, data=b"": runner.invoke(_commands.upscale_app, arguments, input=data)


def test_a_file_is_enlarged_in_the_format_that_its_name_says(run, tmp_path):
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.webp", "WEBP")):
        done = run("in.png", name, "--scale", "3")
        assert done.exit_code == 0, done.output
        assert done.stdout == ""
        picture = opened((tmp_path / name).read_bytes())
        assert (picture.format, picture.size) == (kind, (900, 120))
    assert opened((tmp_path / "a.png").read_bytes()).tobytes() == repeated(PICTURE, 3).tobytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has none")
def test_force_puts_no_file_in_the_place_of_a_device(run, tmp_path):
    os.mkfifo(tmp_path / "out.png")
    done = run("in.png", "out.png", "--force")
    assert done.exit_code == 1
    assert "it is not a file" in done.stderr
    assert (tmp_path / "out.png").is_fifo()


def test_pipes_carry_pictures(run):
    done = run("-", "-", data=file_of(PICTURE))
    assert done.exit_code == 0, done.stderr
    assert opened(done.stdout_bytes).tobytes() == repeated(PICTURE, 2).tobytes()


def test_json_describes_the_new_file(run, tmp_path):
    done = run("in.png", "out", "--format", "png", "--json")
    about = json.loads(done.stdout)
    assert about.pop("seconds") > 0
    size = (tmp_path / "out").stat().st_size
    wanted = {"path": "out", "width": 600, "height": 80, "format": "png", "bytes": size}
    assert about == wanted


def test_a_file_is_overwritten_only_by_force(run, tmp_path):
    out = tmp_path / "out.png"
    out.write_text("mine")
    done = run("in.png", "out.png")
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert out.read_text() == "mine"
    assert run("in.png", "out.png", "--force").exit_code == 0
    assert opened(out.read_bytes()).size == (600, 80)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("none.png", "out.png"), "cannot read none.png: No such file"),
        (("in.png", "none/out.png"), "there is no folder none"),
        (("in.png", "out"), "says no format"),
        (("in.png", "state"), "it is a folder"),
        (("in.png", "-", "--json"), "cannot both go to standard output"),
        (("in.png", "out.png", "--model", "x"), "unknown 'x'; known: fast, drawing, photo"),
        (("broken.png", "out.png"), "broken.png: the file is not a PNG"),
        (("dead.png", "out.png"), "SIGKILL"),
    ],
)
def test_a_failure_names_the_reason_and_leaves_no_file(run, tmp_path, arguments, reason):
    (tmp_path / "state").mkdir()
    (tmp_path / "broken.png").write_text("<svg>")
    (tmp_path / "dead.png").write_bytes(file_of(plain((13, 0, 13))))
    before = sorted(tmp_path.glob("*"))
    done = run(*arguments)
    assert done.exit_code == 1
    assert reason in done.stderr.replace("\n", " ")
    assert sorted(tmp_path.glob("*")) == before
