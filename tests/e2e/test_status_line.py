"""The real Claude Code in a terminal: its status line says what the first prompt waits for."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_message,
    anthropic_stream,
    respond,
    sse,
)
from tests.e2e.claude import claude_binary

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

PLUGWAY = str(Path(sys.executable).with_name("plugway"))
MODELS = {"data": [{"id": "big-model", "type": "model", "display_name": "Big"}], "has_more": False}
TOKEN = "gateway-token-0123456789abcdef"


_CONTROLS = re.compile(r"\x1b\[[0-9;?<>]*[A-Za-z]|\x1b\][^\x07]*\x07|\s")


class Terminal:
    """A program in a terminal of 140 columns."""

    def __init__(self, words, env, folder):
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(words[0], words, env)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        self.shown = ""

    def wait_for(self, words, seconds):
        """Read until the words were shown, blanks aside, which programs may skip; raises
        `AssertionError` after so many seconds."""
        end = time.monotonic() + seconds
        while words.replace(" ", "") not in _CONTROLS.sub("", self.shown):
            assert time.monotonic() < end, f"{words!r} is not in {self.shown[-3000:]!r}"
            if select.select([self._file], [], [], 0.2)[0]:
                self.shown += os.read(self._file, 65536).decode("utf-8", "replace")

    def type(self, text):
        os.write(self._file, text.encode())

    def close(self):
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        os.close(self._file)


@pytest.fixture
def environment(tmp_path):
    """A home in which the client asks nothing at its start, and a free port."""
    (tmp_path / "project").mkdir()
    (tmp_path / ".claude").mkdir()
    trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    state = {"hasCompletedOnboarding": True, "theme": "dark"}
    state["projects"] = {str(tmp_path / "project"): trusted}
    (tmp_path / ".claude/.claude.json").write_text(json.dumps(state))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    env = {
        "HOME": str(tmp_path),
        "CLAUDE_CONFIG_DIR": str(tmp_path / ".claude"),
        "PATH": os.defpath,
        "TERM": "xterm-256color",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return env, port


async def test_the_status_line_says_what_the_first_prompt_waits_for(tmp_path, environment):
    env, port = environment
    gate = anyio.Event()

    def model(request):
        if request.method == "GET":
            return respond(200, MODELS)
        if not request.json.get("stream"):
            return respond(200, anthropic_message("ok"))
        return [WaitFor(gate), *sse(anthropic_stream("The answer is here."))]

    def converse(upstream):
        config = tmp_path / "plugway.yaml"
        backend = {"use": "anthropic-compatible", "name": "up", "options": {"base_url": upstream}}
        server = {"port": port, "token": TOKEN}
        plugins = [{"use": "dashboard"}, backend]
        config.write_text(json.dumps({"server": server, "plugins": plugins}))
        config.chmod(0o600)
        words = [PLUGWAY, "claude", "--config", str(config), "--claude", claude_binary()]
        terminal = Terminal([*words, "--model", "big-model"], env, tmp_path / "project")
        try:
            terminal.wait_for("plugway started the gateway", 40)
            terminal.wait_for("big-model", 40)
            terminal.wait_for("auto mode", 40)
            terminal.type("hello there")
            terminal.wait_for("hello there", 20)
            terminal.type("\r")
            terminal.wait_for("waiting for up/big-model, ", 40)
            anyio.from_thread.run_sync(gate.set)
            terminal.wait_for("answer is here", 40)
        finally:
            terminal.close()
            subprocess.run([PLUGWAY, "up", "--config", str(config), "--stop"], env=env)

    async with ScriptedUpstream(otherwise=model) as upstream:
        await anyio.to_thread.run_sync(converse, upstream.url)
