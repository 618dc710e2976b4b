"""The tool `speech_save`, and `plugway say`."""

import io
import json
import os
import wave

import pytest
from typer.testing import CliRunner

from plugway import Exchange, MessagesRequest
from plugway_text_to_speech import _commands
from plugway_text_to_speech._commands import say_app
from plugway_text_to_speech._engines import engine_spec
from plugway_tools import HoldsTools, ToolCall

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.name == "nt", reason="the program in place of Piper is a script"),
]


def call_of(name, roots=(), **arguments):
    return ToolCall("c1", name, arguments, Exchange(MessagesRequest(b"{}")), tuple(roots))


@pytest.mark.anyio
async def test_a_text_becomes_a_new_file_in_a_folder(make, serving, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "old.wav").write_bytes(b"mine")
    (folder / "link.wav").symlink_to(tmp_path / "out.wav")
    plugin = make(folders=[str(folder)])
    assert isinstance(plugin, HoldsTools)
    async with serving(plugin):
        (spec,) = await plugin.tools()
        assert (spec.name, spec.effect, spec.outside) == ("speech_save", "write", False)
        result = await plugin.run_tool(call_of("speech_save", path="new.wav", text="Hello"))
        assert not result.is_error, result.text
        assert (folder / "new.wav").read_bytes().startswith(b"RIFF")
        for arguments, reason in (
            ({"path": "old.wav", "text": "x"}, "File exists"),
            ({"path": "../out.wav", "text": "x"}, "not in a folder"),
            ({"path": "link.wav", "text": "x"}, "not in a folder"),
            ({"path": str(tmp_path / "out.wav"), "text": "x"}, "not in a folder"),
            ({"path": "a.sh", "text": "x"}, "must end with one of .mp3"),
            ({"path": "b.wav", "text": "die"}, "see its log"),
            ({"path": "b.wav", "text": "x", "voice": "eve"}, "unknown 'eve'"),
            ({"path": "b.wav"}, "invalid arguments"),
        ):
            result = await plugin.run_tool(call_of("speech_save", **arguments))
            assert result.is_error
            assert reason in result.text
        assert (folder / "old.wav").read_bytes() == b"mine"
        assert sorted(path.name for path in folder.iterdir()) == ["link.wav", "new.wav", "old.wav"]
        assert not (tmp_path / "out.wav").exists()
        elsewhere = call_of("speech_save", [tmp_path / "else"], path="c.wav", text="x")
        assert (await plugin.run_tool(elsewhere)).is_error


@pytest.mark.anyio
async def test_without_folders_there_is_no_tool(make, serving):
    plugin = make()
    async with serving(plugin):
        assert await plugin.tools() == []
        result = await plugin.run_tool(call_of("speech_save", path="a.wav", text="x"))
        assert "tools that are on: none" in result.text


@pytest.fixture
def run(monkeypatch, tmp_path, piper, voice):
    """Runs the command with the voice of the program."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    spec = engine_spec([str(voice(tmp_path / "v", "en_US-ann"))], piper)
    monkeypatch.setattr(_commands, "engine_spec", lambda **_: spec)
    monkeypatch.setattr(_commands, "problem_of", lambda *_: "")

    def invoke(*arguments, data=b""):
        return CliRunner().invoke(say_app, list(arguments), input=data)

    return invoke


def test_the_command_writes_a_file_whose_length_is_right(run, tmp_path):
    path = tmp_path / "a.wav"
    found = json.loads(run("abc", "-o", str(path), "--json").stdout)
    with wave.open(str(path)) as sound:
        assert sound.getnframes() == 3 * 2205
    assert (found["file"], found["format"], found["bytes"]) == (
        str(path),
        "wav",
        path.stat().st_size,
    )
    assert found["voice"]["id"] == "en_US-ann"


def test_a_file_is_overwritten_only_by_force_and_not_by_half_of_one(run, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"mine")
    done = run("abc", "-o", str(path))
    assert done.exit_code == 1
    assert "exists already: name another file, or add `--force` to overwrite it" in done.stderr
    assert run("die", "-o", str(path), "--force").exit_code == 1
    assert path.read_bytes() == b"mine"
    assert run("abc", "-o", str(path), "--force").exit_code == 0
    assert path.read_bytes().startswith(b"RIFF")


def test_sound_and_json_do_not_share_standard_output(run):
    done = run("abc", "-o", "-", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot both go to standard output" in done.stderr


def test_the_command_reads_and_writes_pipes(run):
    for arguments, data in (
        (["abc"], b""),
        (["-"], b"abc"),
        ([], b"abc"),
        (["abc", "-o", "-"], b""),
    ):
        result = run(*arguments, data=data)
        assert result.exit_code == 0, result.stderr
        with wave.open(io.BytesIO(result.stdout_bytes)) as sound:
            assert sound.getnframes() == 3 * 2205


def test_the_command_lists_the_voices(run):
    assert run("--list").stdout.split() == ["en_US-ann", "en_US"]
    assert json.loads(run("--list", "--json").stdout)[0]["engine"] == "piper"


def test_the_command_says_what_is_wrong(run, tmp_path, monkeypatch):
    for arguments, reason in (
        (["", "-o", "x.wav"], "the text to speak is required"),
        (["a", "--format", "midi", "-o", "x.wav"], "expected one of mp3"),
        (["a", "--speed", "9", "-o", "x.wav"], "expected a number from 0.25 to 4"),
        (["a", "--voice", "eve", "-o", "x.wav"], "unknown 'eve'"),
        (["a", "-o", str(tmp_path / "none/x.wav")], "cannot write"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert reason in result.stderr
    monkeypatch.setattr(_commands, "problem_of", lambda *_: "no voice is installed: ...")
    assert "no voice is installed" in run("a").stderr


def test_a_name_with_an_unknown_end_is_not_filled_with_another_format(run, tmp_path):
    for name in ("a.mp4", "a.wave"):
        done = run("hello", "-o", str(tmp_path / name))
        assert done.exit_code == 1
        assert "says no known format" in done.stderr
        assert not (tmp_path / name).exists()
