"""A home of its own for every test, with a scripted systemd."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from plugway_service import _checks, _systemd
from plugway_service.find import text_of
from tests.commands import command

SCRIPT = Path(__file__).with_name("scripted_systemd.py")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Machine:
    """A machine with systemd, seen by an ordinary user."""

    def __init__(self, folder):
        self.home = folder / "ho me %h é"
        self.state = folder / "systemd"
        self.bin = folder / "bin"
        for each in (self.home, self.state, self.bin):
            each.mkdir()
        for name in ("systemctl", "systemd-run", "journalctl"):
            file = self.bin / name
            file.write_text(f'#!/bin/sh\nexec {sys.executable} -E {SCRIPT} {name} "$@"\n')
            file.chmod(0o755)
        self.port = free_port()
        self.config = self.home / "plugway.yaml"
        self.configure()

    def configure(self, plugins="[{use: echo}]", more=""):
        self.config.write_text(f"server: {{port: {self.port}{more}}}\nplugins: {plugins}\n")

    def variables(self):
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        return {"HOME": str(self.home), "PATH": path, "SCRIPTED_SYSTEMD": str(self.state)}

    def run(self, *words):
        return command("service", *words, env=self.variables(), folder=self.home)

    def install(self, *words):
        return self.run("install", "--config", str(self.config), "--yes", *words)

    def unit(self, name="plugway"):
        return self.home / ".config/systemd/user" / f"{name}.service"

    def text(self, name="plugway"):
        return text_of(self.unit(name))

    def files(self):
        """All files but the gateway's token, which every command creates that needs it."""
        found = [p for p in self.home.rglob("*") if p.is_file() and p.name != "token"]
        return sorted(str(path.relative_to(self.home)) for path in found)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    if sys.platform != "linux" or not shutil.which("sh"):
        pytest.skip("scripted for Linux")
    monkeypatch.setattr(_checks, "_is_root", lambda: False)
    monkeypatch.setattr(_checks, "_temporary_folders", list)
    monkeypatch.setattr(_systemd, "_JOURNALS", tmp_path / "journals")
    made = Machine(tmp_path)
    yield made
    for unit in made.unit().parent.glob("*.service"):
        name = unit.stem.removeprefix("plugway").removeprefix("-") or "default"
        (made.state / "no-bus").unlink(missing_ok=True)
        made.run("uninstall", "--yes", "--name", name)
