"""`plugway upscale` with videos: FFmpeg is the real one, the engine repeats pixels."""

import json
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from plugway_upscale import _commands, _probe, _video, _video_command

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs `apt-get install ffmpeg`"),
]
slow = pytest.mark.slow
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
SRT = "1\n00:00:00,100 --> 00:00:00,400\nGood morning\n"


@pytest.fixture
def run(monkeypatch, tmp_path, use_fake_engine):
    monkeypatch.chdir(tmp_path)
    use_fake_engine(_video_command)
    monkeypatch.setattr(_commands, "problem", lambda: "")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(_commands.upscale_app, arguments)


def made(name, *arguments, source="testsrc=size=64x48:rate=25:duration=0.4"):
    """A video of FFmpeg's own pictures."""
    quiet = ("ffmpeg", "-nostdin", "-v", "error", "-y")
    subprocess.run([*quiet, "-f", "lavfi", "-i", source, *arguments, name], check=True, timeout=60)


def told(name, entries, stream="v"):
    """What ffprobe says about a file."""
    done = subprocess.run(
        [
            "ffprobe",
            "-v",
            "error",
            "-select_streams",
            stream,
            "-show_entries",
            entries,
            "-of",
            "json",
            name,
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def times(name):
    return [float(one["pts_time"]) for one in told(name, "frame=pts_time")["frames"]]


def colour(name, at):
    """The pixel in the middle of a frame."""
    done = subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            name,
            "-vf",
            f"select=eq(n\\,{at}),crop=2:2",
            "-frames:v",
            "1",
            "-pix_fmt",
            "rgb24",
            "-f",
            "rawvideo",
            "-",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return tuple(done.stdout[:3])


def copied(name, stream):
    """Hash of a stream's packets."""
    return subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            name,
            "-map",
            f"0:{stream}",
            "-c",
            "copy",
            "-f",
            "streamhash",
            "-",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout


@slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_keep_their_times_and_sound_and_subtitles_are_copied(run, tmp_path, suffix):
    (tmp_path / "s.srt").write_text(SRT)
    more = ("-f", "lavfi", "-i", "sine=duration=1", "-i", "s.srt", "-map", "0", "-map", "1")
    text = "mov_text" if suffix == "mp4" else "srt"
    title = ("-metadata", "title=Morning", "-c:a", "aac", "-map", "2", "-c:s", text)
    made(
        f"in.{suffix}",
        *more,
        *title,
        *X264,
        source="testsrc=size=64x48:rate=30000/1001:duration=0.5",
    )
    done = run(f"in.{suffix}", f"out.{suffix}", "--json")
    assert done.exit_code == 0, done.output
    about = json.loads(done.stdout)
    assert (about["width"], about["height"], about["kept_frames"]) == (128, 96, 0)
    assert times(f"out.{suffix}") == pytest.approx(times(f"in.{suffix}"), abs=0.002)
    rate = told(f"out.{suffix}", "stream=avg_frame_rate")["streams"][0]["avg_frame_rate"]
    assert Fraction(rate) == Fraction(30000, 1001)
    for stream in ("a", "s"):
        assert copied(f"out.{suffix}", stream) == copied(f"in.{suffix}", stream)
    assert told(f"out.{suffix}", "format_tags=title")["format"]["tags"]["title"] == "Morning"
    assert not list((tmp_path / "state").glob("plugway/upscale/*"))


@slow
def test_a_variable_frame_rate_is_kept(run):
    drop = "select=not(mod(n\\,3))+lt(n\\,5)"
    made("in.mp4", "-vf", drop, "-fps_mode", "vfr", *X264, source="testsrc=size=64x48:rate=30:d=1")
    assert len(times("in.mp4")) == 13
    assert run("in.mp4", "out.mp4").exit_code == 0
    assert times("out.mp4") == pytest.approx(times("in.mp4"), abs=0.001)


@slow
@pytest.mark.parametrize("tags", [(), ("-colorspace", "bt709"), ("-colorspace", "smpte170m")])
def test_colours_stay_as_they_are(run, tags):
    for name in ("red", "lime", "0x3060c0"):
        made("in.mp4", *X264, *tags, source=f"color={name}:size=64x48:rate=25:d=0.1")
        assert run("in.mp4", "out.mp4", "--force").exit_code == 0
        for a, b in zip(colour("in.mp4", 0), colour("out.mp4", 0), strict=True):
            assert abs(a - b) <= 6, (name, colour("in.mp4", 0), colour("out.mp4", 0))


@slow
def test_frames_are_in_their_order_and_odd_sizes_are_cut_to_even_ones(run):
    made("in.mkv", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv444p",
         source="color=red:size=40x40:rate=5:d=1,format=yuv444p,drawbox=c=blue:t=fill:enable=gte(n\\,3),crop=33:31:exact=1")  # fmt: skip
    assert run("in.mkv", "out.mp4", "--scale", "3").exit_code == 0
    found = told("out.mp4", "stream=width,height")["streams"][0]
    assert (found["width"], found["height"]) == (98, 92)
    assert [colour("out.mp4", at)[0] > 128 for at in range(5)] == [True, True, True, False, False]


@slow
def test_a_turned_video_is_turned_and_not_turned_again(run):
    made("flat.mp4", *X264)
    subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            "flat.mp4",
            "-c",
            "copy",
            "-metadata:s:v",
            "rotate=90",
            "in.mp4",
        ],
        check=True,
        timeout=60,
    )
    if not told("in.mp4", "stream_side_data=rotation")["streams"][0].get("side_data_list"):
        pytest.skip("this FFmpeg writes a rotation in another way")
    assert run("in.mp4", "out.mp4").exit_code == 0
    found = told("out.mp4", "stream=width,height:stream_side_data=rotation")["streams"][0]
    assert (found["width"], found["height"]) == (96, 128)
    assert "side_data_list" not in found


def test_a_stopped_command_goes_on_where_it_was(run, monkeypatch, tmp_path):
    made("in.mp4", *X264)
    enlarge, calls = _video.enlarge, []

    async def stopping(*arguments, **more):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return await enlarge(*arguments, **more)

    monkeypatch.setattr(_video, "enlarge", stopping)
    done = run("in.mp4", "out.mp4")
    assert done.exit_code == 130
    assert "stopped. The same command goes on from here" in done.stderr
    assert not list(tmp_path.glob("*out*"))
    calls[:] = [1] * 10
    done = run("in.mp4", "out.mp4", "--json")
    assert json.loads(done.stdout)["kept_frames"] == 3  # the last one may be damaged
    assert len(calls) == 10 + 7
    assert len(times("out.mp4")) == 10


@slow
def test_restart_and_other_options_begin_again(run, monkeypatch):
    made("in.mp4", *X264)

    async def full(*arguments):
        raise OSError(28, "No space left on device")

    encode = _video._encode
    monkeypatch.setattr(_video, "_encode", full)
    done = run("in.mp4", "out.mp4")
    assert done.exit_code == 1
    assert "cannot go on: No space left on device. The same command goes on" in done.stderr
    monkeypatch.setattr(_video, "_encode", encode)
    for options, kept in ((("--scale", "3"), 0), ((), 10), (("--restart",), 0)):
        if options == ("--restart",):
            monkeypatch.setattr(_video, "_encode", full)
            run("in.mp4", "out.mp4", "--force")
            monkeypatch.setattr(_video, "_encode", encode)
        done = run("in.mp4", "out.mp4", "--json", "--force", *options)
        assert json.loads(done.stdout)["kept_frames"] == kept


@slow
def test_nothing_is_overwritten_without_force(run, tmp_path):
    made("in.mp4", *X264)
    (tmp_path / "out.mp4").write_text("mine")
    done = run("in.mp4", "out.mp4")
    assert (done.exit_code, (tmp_path / "out.mp4").read_text()) == (1, "mine")
    assert "exists already" in done.stderr
    assert run("in.mp4", "out.mp4", "--force").exit_code == 0
    assert len(times("out.mp4")) == 10


def hostile():
    """Files that are refused, by name, with the reason."""
    made("hdr.mp4", *X264, "-color_trc", "smpte2084")
    made("ffv1.mkv", "-c:v", "ffv1")
    made("wide.mp4", *X264, source="color=red:size=5000x200:rate=5:d=0.2")
    made("long.mp4", *X264, source="color=red:size=64x48:rate=1:d=700")
    made("sound.mp4", "-vn", source="sine=d=1")
    made("good.mp4", *X264)
    good = Path("good.mp4").read_bytes()
    Path("cut.mp4").write_bytes(good[: good.index(b"moov")])
    Path("junk.mp4").write_bytes(good[:32] + bytes(range(256)) * 50)
    Path("list.mp4").write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    Path("concat.mkv").write_bytes(b"ffconcat version 1.0\nfile /etc/passwd\n")
    Path("photo.mp4").write_bytes(b"\0\0\0\x18ftypheic" + good[12:])
    Path("empty.mp4").write_bytes(b"")
    Path("huge.mp4").write_bytes(good[:100])
    os.truncate("huge.mp4", 9 << 30)  # takes no space
    return {
        "hdr.mp4": "the video is HDR",
        "ffv1.mkv": "the codec ffv1, which is not decoded here",
        "wide.mp4": "20,000 x 800 pixels",
        "long.mp4": "longer than 600 s: cut it, or allow more with `--max-seconds`",
        "sound.mp4": "contains no video",
        "cut.mp4": "cannot be read: moov atom not found",
        "junk.mp4": "cannot be read",
        "list.mp4": "IN is not an MP4, MOV, MKV or WebM file",
        "concat.mkv": "IN is not an MP4, MOV, MKV or WebM file",
        "photo.mp4": "IN is not an MP4, MOV, MKV or WebM file",
        "empty.mp4": "IN is not an MP4, MOV, MKV or WebM file",
        "huge.mp4": "has more than 8,589,934,592 bytes: cut it into parts",
        "none.mp4": "No such file",
    }


def test_hostile_and_unsuitable_files_are_refused_before_a_frame_is_decoded(
    run, monkeypatch, tmp_path
):
    wanted = hostile()
    before = sorted(tmp_path.glob("*.*"))

    async def never(*arguments):
        raise AssertionError("a frame is decoded")

    monkeypatch.setattr(_video, "_times_of", never)
    for name, reason in wanted.items():
        done = run(name, "out.mp4", "--scale", "4")
        assert done.exit_code == 1, (name, done.output)
        assert reason in done.stderr.replace("\n", " "), (name, done.stderr)
    assert sorted(tmp_path.glob("*.*")) == before


@slow
def test_a_file_that_lies_about_its_length_is_refused(run, monkeypatch):
    made("in.mp4", *X264, source="testsrc=size=64x48:rate=10:d=5")
    probe = _probe._probe

    def lying(*arguments):
        return {**probe(*arguments), "format": {"duration": "0.1"}}

    monkeypatch.setattr(_probe, "_probe", lying)
    done = run("in.mp4", "out.mp4", "--max-seconds", "2")
    assert "longer than 2 s" in done.stderr


@slow
def test_a_damaged_middle_costs_no_other_frame_its_place(run):
    made("in.mkv", "-c:v", "mjpeg", "-q:v", "3", source="testsrc=size=64x48:rate=25:d=1")
    data = bytearray(Path("in.mkv").read_bytes())
    half = len(data) // 2
    data[half : half + 1500] = b"\0" * 1500
    Path("in.mkv").write_bytes(data)
    done = run("in.mkv", "out.mp4", "--json")
    if done.exit_code == 0:
        assert len(times("out.mp4")) == json.loads(done.stdout)["frames"] >= 20
    else:
        assert "in.mkv: " in done.stderr


@slow
def test_what_does_not_fit_into_the_new_file_is_said_before_the_work(run, monkeypatch, tmp_path):
    (tmp_path / "s.srt").write_text(SRT)
    made("in.mkv", "-i", "s.srt", *X264, "-c:s", "ass")
    done = run("in.mkv", "out.mp4")
    assert done.exit_code == 1
    assert "the subtitles do not fit into .mp4 files: name OUT .mkv" in done.stderr
    assert run("in.mkv", "out.mkv").exit_code == 0
    for arguments, reason in (
        (("in.mkv", "-"), "OUT must end with one of .mp4"),
        (("in.mkv", "out.webm"), "OUT must end with one of .mp4"),
        (("in.mkv", "out.png"), "OUT must end with one of .mp4"),
        (("in.mkv", "o.mp4", "--format", "png"), "`--format` is for pictures"),
    ):
        done = run(*arguments)
        assert (done.exit_code, reason in done.stderr.replace("\n", " ")) == (1, True), done.stderr
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(_video.shutil, "disk_usage", lambda _: usage)
    done = run("in.mkv", "out2.mkv")
    assert "GiB of disk, and" in done.stderr
    assert "free some, enlarge a part" in done.stderr
    assert not list((tmp_path / "state").glob("plugway/upscale/*"))


@slow
def test_only_one_command_works_at_a_video(run, tmp_path):
    made("in.mp4", *X264)
    task = _video.Task(Path("in.mp4"), Path("out.mp4"), 2, "fast", 600.0, False, False)
    kept = _video.Kept(_video.folder_of(task))
    with _video.ExitStack() as held:
        kept.lock(held)
        assert "another command enlarges this video" in run("in.mp4", "out.mp4").stderr
    assert run("in.mp4", "out.mp4").exit_code == 0


def test_without_ffmpeg_the_error_names_the_package(run, monkeypatch):
    made("in.mp4", *X264)
    monkeypatch.setenv("PATH", "/nowhere")
    done = run("in.mp4", "out.mp4")
    assert done.exit_code == 1
    assert "`sudo apt install ffmpeg`" in done.stderr


def test_a_video_that_changes_meanwhile_becomes_no_mixture(run, monkeypatch, tmp_path):
    made("a.mp4", *X264)
    real = _video.enlarge

    async def meanwhile(*arguments, **more):
        made("new.mp4", *X264, source="color=red:size=64x48:rate=25:duration=0.4")
        os.replace("new.mp4", "a.mp4")
        return await real(*arguments, **more)

    monkeypatch.setattr(_video, "enlarge", meanwhile)
    done = run("a.mp4", "b.mp4")
    assert done.exit_code == 1
    assert "it was changed while it was enlarged" in done.stderr
    assert not Path("b.mp4").exists()
    assert not list(Path("state/plugway/upscale").glob("*/frames/*"))
