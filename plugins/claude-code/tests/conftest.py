"""A home of its own for every test, and the facts of a gateway that need not run."""

import os
import stat
import sys
from pathlib import Path

import pytest

from plugway import LocalGateway
from plugway_claude_code._models import SLOTS, Choice
from plugway_claude_code._setup import Facts
from plugway_probe import ListedModel

TOKEN = "gateway-token-0123456789abcdef"
PLUGWAY = Path(sys.executable).with_name("plugway")


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    (folder / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    for name in list(os.environ):
        if name.startswith(("XDG_", "CLAUDE_", "ANTHROPIC_", "PLUGWAY_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(folder / "project")
    return folder


@pytest.fixture
def facts(home):
    def make(window=65536, **more):
        config = home / "plugway.yaml"
        config.write_text(f"server: {{port: 8484, token: {TOKEN}}}\nplugins: []\n")
        config.chmod(0o600)
        choice = Choice("anthropic/local/coder", "Coder", "local", window)
        rows = [ListedModel("anthropic/local/coder", "Coder", window)]
        return Facts(
            LocalGateway.find(config),
            dict.fromkeys(SLOTS, choice),
            rows,
            "/opt/plug way/bin/plugway",
            **{"mcp": True, **more},
        )

    return make


def snapshot(folder):
    """Every file, link and mode below a folder, the state of Plugway left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith(".local/state"):
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    return found
