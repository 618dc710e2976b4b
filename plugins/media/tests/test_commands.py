"""Files and pipes of commands."""

import sys

import pytest
import typer

from plugway_media.commands import fail, read_input, to_terminal, write_output


def reason(capsys, work, *arguments, **more):
    with pytest.raises(typer.Exit):
        work(*arguments, **more)
    return capsys.readouterr().err


def test_closed_standard_streams_are_named(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in reason(capsys, read_input, "-", max_bytes=9)
    monkeypatch.setattr(sys, "stdout", None)
    for work in (to_terminal, lambda: write_output("-", b"x")):
        with pytest.raises(typer.Exit):
            work()


def test_the_name_of_a_file_cannot_control_the_terminal(capsys):
    shown = reason(capsys, fail, "cannot read a\x1b[2J\x9b\u202e.png [bold]\nsecond line")
    assert shown == "plugway: cannot read a\\x1b[2J\\x9b\\u202e.png [bold]\nsecond line\n"


def test_files_above_the_limit_and_folders_are_refused(capsys, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x" * 10)
    assert "more than 9 bytes" in reason(capsys, read_input, str(path), max_bytes=9)
    assert "Is a directory" in reason(capsys, read_input, str(tmp_path), max_bytes=9)
