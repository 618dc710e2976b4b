"""Files and pipes of commands."""

import os
import sys

import pytest
import typer

from plugway_media.commands import check_output, fail, read_input, to_terminal, write_output


def reason(capsys, work, *arguments, **more):
    with pytest.raises(typer.Exit):
        work(*arguments, **more)
    return capsys.readouterr().err


def test_closed_standard_streams_are_named(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in reason(capsys, read_input, "-", max_bytes=9)
    monkeypatch.setattr(sys, "stdout", None)
    for work in (to_terminal, lambda: check_output("-", force=False)):
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


def test_a_file_is_overwritten_only_by_force(capsys, tmp_path):
    path = tmp_path / "done.wav"
    check_output(str(path), force=False)
    write_output(str(path), [b"a", b"b"], force=False)
    assert path.read_bytes() == b"ab"
    assert "--force" in reason(capsys, check_output, str(path), force=False)
    assert "another program created it" in reason(
        capsys, write_output, str(path), [b"c"], force=False
    )
    assert path.read_bytes() == b"ab"
    check_output(str(path), force=True)
    write_output(str(path), [b"c"], force=True)
    assert path.read_bytes() == b"c"


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_as_it_was_if_the_work_fails_half_way(force, tmp_path):
    def pieces():
        yield b"half"
        raise RuntimeError("the engine died")

    path = tmp_path / "done.wav"
    path.write_bytes(b"mine")
    with pytest.raises(RuntimeError):
        write_output(str(path), pieces(), force=force)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"done.wav": b"mine"}


def test_a_link_to_nothing_and_a_device_are_not_overwritten(capsys, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    assert "exists already" in reason(capsys, check_output, str(link), force=False)
    assert "it is not a file" in reason(capsys, check_output, os.devnull, force=True)
    assert "it is a folder" in reason(capsys, check_output, str(tmp_path), force=True)
    assert "there is no folder" in reason(capsys, check_output, str(link / "x"), force=True)


def test_what_would_fail_after_minutes_of_work_is_found_before(capsys, monkeypatch, tmp_path):
    long = str(tmp_path / ("x" * 300))
    assert "File name too long" in reason(capsys, check_output, long, force=False)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root has permission
    refused = reason(capsys, check_output, str(tmp_path / "a.wav"), force=True)
    assert f"no permission to create files in {tmp_path}" in " ".join(refused.split())


@pytest.mark.skipif(os.name == "nt", reason="files have other permissions there")
def test_a_file_that_is_overwritten_keeps_its_permissions(tmp_path):
    path = tmp_path / "private.wav"
    path.write_bytes(b"a")
    path.chmod(0o600)
    write_output(str(path), [b"b"], force=True)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"b", 0o600)
