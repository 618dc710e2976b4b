"""A plugin that does more than it declares is reported; a real gateway, on its real event loop."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import orjson
import pytest

PLUGWAY = str(Path(sys.executable).with_name("plugway"))
TOKEN = "t" * 40
PERMISSIONS = """
hooks = ["transform_request"]
hosts = ["localhost", "{base_url}"]
files = ["~/declared", "{folder}"]
processes = ["true"]
"""
GREEDY = """
import asyncio, os, socket, sqlite3, subprocess, threading
from pathlib import Path

import anyio
from plugway import Options, Plugin, hookimpl

HOME = Path.home()
(HOME / "at-import.txt").write_text("x")


class GreedyOptions(Options):
    base_url: str
    folder: str
    port: int


async def connect(host, port):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 5)
        writer.close()
    except OSError:
        pass


class Greedy(Plugin[GreedyOptions]):
    @hookimpl
    async def transform_request(self, request, exchange):
        port = self.options.port
        # declared
        await connect("localhost", port)
        await connect("127.0.0.2", port)
        with socket.create_connection(("localhost", port)):
            pass
        subprocess.run(["true"])
        (HOME / "declared" / "deep").mkdir(parents=True, exist_ok=True)
        (HOME / "declared" / "deep" / "a.txt").write_text("x")
        (Path(self.options.folder) / "b.txt").write_text("x")
        import this_is_imported_late

        # not declared
        await connect("127.0.0.3", port)
        await asyncio.create_task(connect("127.0.0.4", port))
        with socket.socket() as plain:
            plain.connect(("127.0.0.5", port))
        await anyio.to_thread.run_sync(os.listdir, HOME / "in-thread")
        await asyncio.to_thread(lambda: (HOME / "to-thread" / "x").read_text())
        thread = threading.Thread(target=self.alone)
        thread.start()
        thread.join()
        (HOME / "declared" / "out").symlink_to(HOME / "beyond")
        (HOME / "declared" / "out" / "x.txt").write_text("x")
        sqlite3.connect(HOME / "data" / "x.sqlite").close()
        os.remove(HOME / "removed" / "x")
        await (await asyncio.create_subprocess_exec("false")).wait()
        subprocess.run("exit 0", shell=True)
        exec("open(HOME / 'by-exec' / 'x')", globals())

    def alone(self):
        (HOME / "own-thread" / "x").read_text()
"""


def install(site, permissions=PERMISSIONS):
    """The plugin as a wheel installs it."""
    package, info = site / "greedy_one", site / "greedy_one-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(GREEDY)
    (site / "this_is_imported_late.py").write_text("")
    if permissions is not None:
        (package / "plugway-permissions.toml").write_text(permissions)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greedy-one\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[plugway]\ngreedy-one = greedy_one:Greedy\n")
    (info / "RECORD").write_text("greedy_one/__init__.py,,\ngreedy_one-1.0.dist-info/RECORD,,\n")


@pytest.fixture
def port():
    """Accepts connections at every address of this machine."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(0.2)
        done = threading.Event()

        def accept():
            while not done.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        done.set()
        thread.join()


class Running:
    def __init__(self, folder, port, site):
        self.home = folder / "home"
        for name in (
            "in-thread",
            "to-thread",
            "own-thread",
            "beyond",
            "data",
            "removed",
            "by-exec",
        ):
            (self.home / name).mkdir(parents=True)
            (self.home / name / "x").write_text("x")
        (folder / "given").mkdir()
        self.config = folder / "config.yaml"
        options = {
            "base_url": "http://127.0.0.2:1/v1",
            "folder": str(folder / "given"),
            "port": port,
        }
        plugins = [{"use": "permissions-watch"}, {"use": "greedy-one", "options": options}]
        text = {"server": {"port": 0, "token": TOKEN}, "plugins": [*plugins, {"use": "echo"}]}
        self.config.touch(0o600)
        self.config.write_text(json.dumps(text))
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("XDG_")},
            "HOME": str(self.home),
            "PYTHONPATH": str(site),
            "NO_COLOR": "1",
        }

    def plugway(self, *words):
        done = subprocess.run(
            [PLUGWAY, *words], env=self.environ, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def serve(self):
        """The log of a gateway that serves one request."""
        process = subprocess.Popen(
            [PLUGWAY, "serve", "--config", str(self.config), "--log-json"],
            env=self.environ,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if '"listening"' in line:
                    url = re.search(r"http://[\d.:]+", line).group()
                    break
            response = httpx2.post(
                f"{url}/v1/messages",
                json={
                    "model": "echo",
                    "max_tokens": 10,
                    "messages": [{"role": "user", "content": "hi"}],
                },
                headers={"x-api-key": TOKEN},
                timeout=60,
            )
            assert response.status_code == 200, (response.text, lines)
        finally:
            process.terminate()
            lines += process.stderr.readlines()
            process.wait(30)
            process.stderr.close()
        return [orjson.loads(line).get("message", "") for line in lines if line.startswith("{")]


SEEN = {
    *(f"connected to `127.0.0.{number}`" for number in (3, 4, 5)),
    *(f"read from `~/{name}`" for name in ("to-thread", "own-thread", "by-exec")),
    "read from `~`",  # it lists `in-thread`
    *(f"wrote to `~/{name}`" for name in ("declared/out", "data", "removed")),
    "wrote to `~`",  # while it was imported
    "started `false`",
    "started `sh`",
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs all of 127.0.0.0/8")
def test_what_a_plugin_uses_without_declaring_it_is_reported_and_nothing_else(tmp_path, port):
    install(tmp_path / "site")
    running = Running(tmp_path, port, tmp_path / "site")
    said = [line for line in running.serve() if "permissions do not declare" in line]
    expected = [f"`greedy-one` {words}, which its permissions do not declare" for words in SEEN]
    assert sorted(said) == sorted(expected)
    shown = running.plugway("permissions", "greedy-one")
    for words in SEEN:
        assert f"- NOT DECLARED, but seen: {words}" in shown
    checked = running.plugway("check", str(running.config))
    assert "`greedy-one` started `false`, which its permissions do not declare" in checked


def test_a_package_that_declares_nothing_is_not_watched(tmp_path, port):
    install(tmp_path / "site", permissions=None)
    running = Running(tmp_path, port, tmp_path / "site")
    assert not [line for line in running.serve() if "do not declare" in line]
    assert "NOT DECLARED" not in running.plugway("permissions", "greedy-one")
