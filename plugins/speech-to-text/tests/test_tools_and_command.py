"""The tool `speech_transcribe`, and `plugway hear`."""

import json

import pytest
from typer.testing import CliRunner

from plugway import Exchange, MessagesRequest
from plugway_speech_to_text._commands import hear_app
from plugway_tools import HoldsTools, ToolCall

pytestmark = pytest.mark.timeout(60)


def call_of(name, roots=(), **arguments):
    return ToolCall("c1", name, arguments, Exchange(MessagesRequest(b"{}")), tuple(roots))


@pytest.mark.anyio
async def test_a_file_in_a_folder_is_written_down(make, serving, sound, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").write_bytes(sound("Hello\x1b[2J.|There."))
    (tmp_path / "in/quiet.wav").write_bytes(sound(""))
    (tmp_path / "in/page.html").write_text("<p>")
    (tmp_path / "out.wav").write_bytes(sound("secret"))
    (tmp_path / "in/link.wav").symlink_to(tmp_path / "out.wav")
    plugin = make(folders=[str(tmp_path / "in")])
    assert isinstance(plugin, HoldsTools)
    async with serving(plugin):
        assert [(spec.name, spec.effect) for spec in await plugin.tools()] == [
            ("speech_transcribe", "read")
        ]
        text = (await plugin.run_tool(call_of("speech_transcribe", path="a.wav"))).text
        assert text == "Hello\\x1b[2J. There.\n"
        call = call_of("speech_transcribe", path=str(tmp_path / "in/a.wav"), times=True)
        assert "00:00:02,000 --> 00:00:03,500" in (await plugin.run_tool(call)).text
        call = call_of("speech_transcribe", path="quiet.wav")
        assert (await plugin.run_tool(call)).text == "(no speech was heard)"
        for arguments, reason in (
            ({"path": "../out.wav"}, "not in a folder"),
            ({"path": str(tmp_path / "out.wav")}, "not in a folder"),
            ({"path": "link.wav"}, "not in a folder"),
            ({"path": "none.wav"}, "no such file"),
            ({"path": "page.html"}, "not audio"),
            ({"path": "a.wav", "language": "../x"}, "invalid arguments"),
            ({}, "invalid arguments"),
        ):
            result = await plugin.run_tool(call_of("speech_transcribe", **arguments))
            assert result.is_error
            assert reason in result.text
        narrowed = call_of("speech_transcribe", [tmp_path / "other"], path="a.wav")
        assert (await plugin.run_tool(narrowed)).is_error


@pytest.mark.anyio
async def test_without_folders_there_is_no_tool(make, serving):
    plugin = make()
    async with serving(plugin):
        assert await plugin.tools() == []
        result = await plugin.run_tool(call_of("speech_transcribe", path="a.wav"))
        assert "tools that are on: none" in result.text


def run(*arguments, data=None):
    return CliRunner().invoke(hear_app, list(arguments), input=data or b"")


def test_the_command_prints_text_subtitles_or_json(fake, sound, tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(sound("Hello.|There."))
    assert run(str(file), "--model", "m").stdout == "Hello. There.\n"
    assert run("-", "--model", "m", data=sound("From a pipe.")).stdout == "From a pipe.\n"
    assert run(str(file), "--model", "m", "--format", "srt").stdout.startswith("1\n00:00:00,000")
    found = json.loads(run(str(file), "--model", "m", "--json").stdout)
    assert (found["text"], found["words"][0]["word"]) == ("Hello. There.", "Hello.")
    asked = run("-", "--model", "m", "--translate", "--language", "de", data=sound("asked"))
    assert asked.stdout.startswith("task=translate,language=de")


def test_the_command_says_what_is_wrong(fake, sound, tmp_path):
    for arguments, data, reason in (
        (["none.wav"], b"", "cannot read none.wav"),
        (["-"], b"MZ", "not audio in the format"),
        (["-"], sound("die"), "SIGKILL"),
        (["-", "--format", "doc"], b"", "unknown format 'doc'"),
        (["-", "--language", "English"], b"", "language: expected a code"),
    ):
        result = run(*arguments, "--model", "m", data=data)
        assert result.exit_code == 1
        assert reason in result.stderr
        assert result.stdout == ""
