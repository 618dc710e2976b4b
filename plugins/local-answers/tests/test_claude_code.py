"""The real Claude Code in a terminal takes the title that no model has made."""

import json
import os
import pty
import signal
import subprocess

import anyio
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_local_answers import LocalAnswers
from plugway_router import Router
from tests.e2e.claude import Claude, claude_binary

pytestmark = [pytest.mark.anyio, pytest.mark.real]

PROMPT = "fix the flaky upload test please"
TITLE = b"Fix the flaky upload test please"


class Terminal:
    """The client in a terminal of its own, with the questions of a first start answered."""

    def __init__(self, claude, folder):
        home = folder / "home"
        (home / ".claude").mkdir()
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        state = {"hasCompletedOnboarding": True, "projects": {str(claude.project): trusted}}
        (home / ".claude" / ".claude.json").write_text(json.dumps(state))
        environment = {**claude._env, "TERM": "xterm-256color"}
        del environment["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"]
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self._process = subprocess.Popen(
            [claude_binary(), PROMPT],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            cwd=claude.project,
            start_new_session=True,
        )
        os.close(slave)

    async def until(self, text, seconds):
        """Wait until the client has written `text`."""
        written = b""
        with anyio.fail_after(seconds):
            while text not in written:
                await anyio.sleep(0.05)
                try:
                    written += os.read(self._master, 65536)
                except BlockingIOError:
                    continue

    def close(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)


@pytest.mark.core
async def test_claude_code_shows_the_title_that_no_model_has_made(tmp_path):
    async with ScriptedUpstream() as upstream:
        stack = [
            build_plugin(LocalAnswers, "local-answers"),
            build_plugin(Router, "router", models={"*": ["up/some-model"]}),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anything")
            terminal = Terminal(claude, tmp_path)
            try:
                await terminal.until(b"\x1b]0;", 20)
                await terminal.until(TITLE + b"\x07", 20)  # the title of the terminal's window
                await upstream.wait_for_request(seconds=10)
            finally:
                terminal.close()
    assert all(request.json.get("tools") for request in upstream.requests)
