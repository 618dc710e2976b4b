"""`tools/claude-code` finds the client at a version, and asks for what is missing once."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e import claude as found

TOOL = Path(__file__).resolve().parents[2] / "tools/claude-code"

NPM = """#!/bin/sh
echo "$@" >> "$NPM_LOG"
case "$1:$NPM_REACHES" in
    view:yes) echo 2.9.9 ;;
    view:*) echo "npm error network timeout" >&2; exit 1 ;;
    install:*)
        while [ "$1" != --prefix ]; do shift; done
        mkdir -p "$2/node_modules/.bin"
        printf '#!/bin/sh\\n' > "$2/node_modules/.bin/claude"
        chmod +x "$2/node_modules/.bin/claude" ;;
esac
"""


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A package manager that writes down what it was asked, and reaches a registry."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(NPM)
    (folder / "npm").chmod(0o755)
    log = tmp_path / "npm.log"
    log.touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.defpath}")
    monkeypatch.setenv("NPM_LOG", str(log))
    monkeypatch.setenv("NPM_REACHES", "yes")
    monkeypatch.setenv("PLUGWAY_BUILD_CACHE", str(tmp_path / "cache"))
    return log


def run(*arguments):
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True)


def test_a_version_is_installed_by_its_number_and_then_found_without_npm(npm):
    path = run("2.1.7").stdout.strip()
    assert path.endswith("/cache/claude-code-2.1.7/node_modules/.bin/claude")
    assert "@anthropic-ai/claude-code@2.1.7" in npm.read_text().splitlines()[-1]
    npm.write_text("")
    assert run("2.1.7").stdout.strip() == path
    assert npm.read_text() == ""


def test_an_installation_that_was_cut_off_is_made_anew_and_leaves_no_draft(npm, tmp_path):
    (tmp_path / "cache/claude-code-2.1.7/node_modules").mkdir(parents=True)
    path = Path(run("2.1.7").stdout.strip())
    assert os.access(path, os.X_OK)
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == ["claude-code-2.1.7"]


def test_newest_is_a_number_that_npm_is_asked_for(npm):
    assert "/claude-code-2.9.9/" in run("newest").stdout
    assert "claude-code@2.9.9" in npm.read_text().splitlines()[-1]


def test_a_registry_that_is_not_reached_is_told_and_asked_without_retries(npm, monkeypatch):
    monkeypatch.setenv("NPM_REACHES", "no")
    done = run("2.1.7")
    assert done.returncode == 1
    assert "npm finds no @anthropic-ai/claude-code@2.1.7: npm error network timeout" in done.stderr
    (asked,) = npm.read_text().splitlines()
    assert asked.startswith("view ")
    assert "--fetch-retries=0 --fetch-timeout=8000" in asked


def test_what_is_missing_is_looked_for_once_in_a_run_of_the_tests(npm, monkeypatch):
    monkeypatch.setenv("NPM_REACHES", "no")
    with found.version_of_claude("2.1.8"):
        for _ in range(3):
            with pytest.raises(pytest.skip.Exception, match=r"2\.1\.8 cannot be installed here"):
                found.claude_binary()
    assert len(npm.read_text().splitlines()) == 1
