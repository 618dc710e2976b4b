"""Finding the client: real executables in a home of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from plugway import PlugwayError
from plugway_claude_client import (
    ClientMissing,
    ClientUnfit,
    claude_folder,
    claude_state_file,
    find_client,
    plugway_command,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    return tmp_path


def client(path, says="2.1.329 (Claude Code)", status=0):
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_the_client_on_the_path_goes_before_that_of_the_native_installer(home):
    native = client(home / ".local/bin/claude", "2.1.7")
    assert (find_client().path, find_client().version) == (str(native), "2.1.7")
    on_path = client(home / "bin/claude")
    assert (find_client().path, find_client().version) == (str(on_path), "2.1.329")
    assert find_client(str(native)).version == "2.1.7"


@pytest.mark.parametrize("named", [None, "/nowhere/claude"])
def test_a_missing_client_is_told_with_how_to_install_it(home, named):
    if named:
        client(home / ".local/bin/claude")
    with pytest.raises(ClientMissing) as caught:
        find_client(named)
    assert named is None or f"at `{named}`" in caught.value.reason
    assert caught.value.fix == "run `npm install -g @anthropic-ai/claude-code`"
    assert str(caught.value) == f"{caught.value.reason}: {caught.value.fix}"


@pytest.mark.parametrize(
    ("says", "status", "reason"),
    [
        ("2.0.14", 0, "Claude Code 2.0.14 is too old, 2.1.0 is needed"),
        ("hello", 0, "prints no version"),
        ("2.1.329", 3, "prints no version"),
    ],
)
def test_a_client_that_is_of_no_use_is_told_with_its_place(home, says, status, reason):
    client(home / "bin/claude", says, status)
    with pytest.raises(ClientUnfit, match=reason) as caught:
        find_client()
    assert not isinstance(caught.value, ClientMissing)


def test_a_client_that_cannot_be_executed_is_reported(home):
    client(home / "bin/claude").write_text("#!/nowhere/sh\n")
    with pytest.raises(ClientUnfit, match="cannot start"):
        find_client()


def test_its_own_variable_moves_its_folders(home, monkeypatch):
    assert (claude_folder(), claude_state_file()) == (home / ".claude", home / ".claude.json")
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", "~/elsewhere")
    there = home / "elsewhere"
    assert (claude_folder(), claude_state_file()) == (there, there / ".claude.json")


def test_plugway_is_that_of_this_environment_before_that_on_the_path(home, monkeypatch):
    assert plugway_command() == str(Path(sys.executable).with_name("plugway"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere")
    with pytest.raises(PlugwayError, match="install Plugway again"):
        plugway_command()
    (home / "bin").mkdir()
    other = home / "bin/plugway"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert plugway_command() == str(other)
