"""The real Claude Code in a terminal (tmux), which signs in by `/login`.

Claude Code takes the gateway's address for `/login` from the machine's managed settings only, in
`/etc/claude-code/managed-settings.json`. Each client here sees an `/etc` of its own, by a mount
namespace, which takes root or user namespaces.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.e2e.claude import claude_binary

SETTINGS = "etc/claude-code/managed-settings.json"


def namespace():
    """The command that starts another with a mount namespace; skips the test if there is none."""
    words = (
        ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    )
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("needs mount namespaces: `unshare --mount true` fails here")
    return words


class Terminal:
    """One client with its own home, configuration, `/etc` and terminal."""

    def __init__(self, folder, url, **more):
        if shutil.which("tmux") is None:
            pytest.skip("needs `apt-get install tmux`")
        self._folder = Path(folder)
        self._tmux = ["tmux", "-S", str(self._folder / "tmux"), "-f", "/dev/null"]
        self.home, self.project = self._folder / "home", self._folder / "project"
        for one in (self.home, self.project):
            one.mkdir(parents=True)
        self.config = self.home / ".claude"
        self.config.mkdir()
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        known = {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "projects": {str(self.project): trusted},
        }
        (self.config / ".claude.json").write_text(json.dumps(known))
        shutil.copytree("/etc", self._folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        policy = self._folder / SETTINGS
        policy.parent.mkdir(exist_ok=True)
        policy.write_text(json.dumps({"forceLoginMethod": "gateway", "forceLoginGatewayUrl": url}))
        self._env = {
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.config),
            "PATH": os.defpath,
            "TERM": "xterm-256color",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            **more,
        }

    def _words(self, *arguments):
        script = 'mount --bind "$0" /etc && cd "$1" && shift && exec "$@"'
        values = [f"{name}={value}" for name, value in self._env.items()]
        inner = ["env", "-i", *values, claude_binary(), *arguments]
        etc = str(self._folder / "etc")
        return [*namespace(), "sh", "-c", script, etc, str(self.project), *inner]

    def _call(self, *words):
        return subprocess.run(
            [*self._tmux, *words], check=True, capture_output=True, text=True
        ).stdout

    @asynccontextmanager
    async def started(self, *arguments):
        """A session in the terminal."""
        command = shlex.join(self._words(*arguments))
        self._call("new-session", "-d", "-s", "one", "-x", "110", "-y", "50", command)
        self._call("set-option", "-g", "remain-on-exit", "on")
        try:
            yield
        finally:
            self._call("kill-server")

    async def printed(self, prompt, *, seconds=90):
        """What `claude -p` prints for a prompt."""
        with anyio.fail_after(seconds):
            done = await anyio.run_process(
                self._words("-p", prompt), stdin=subprocess.DEVNULL, check=False
            )
        return done.stdout.decode() + done.stderr.decode()

    def screen(self):
        """The text on the screen."""
        return self._call("capture-pane", "-t", "one", "-p")

    async def shows(self, pattern, *, seconds=60):
        """Wait for a text on the screen; returns what matched."""
        with anyio.move_on_after(seconds):
            while True:
                if found := re.search(pattern, self.screen()):
                    return found
                await anyio.sleep(0.1)  # a terminal tells nobody when it changes
        raise AssertionError(f"{pattern!r} did not appear in {seconds} s:\n{self.screen()}")

    async def types(self, *keys):
        """Press keys, named as tmux does, or type texts."""
        for key in keys:
            self._call("send-keys", "-t", "one", key)
            await anyio.sleep(0.3)  # as a person types; otherwise it is taken for a pasted text

    async def begins_login(self):
        """`/login` up to the code; returns the code and the page's address."""
        await self.shows("auto mode on|for shortcuts|Cloud gateway")
        await self.types("/login", "Enter")
        await self.shows("Enter to connect")
        await self.types("Enter")
        await self.shows("Trust gateway")
        await self.types("Up", "Enter")
        code = await self.shows(r"Code:\s+([A-Z]{4}-[A-Z]{4})")
        page = await self.shows(r"(https?://\S+/device)")
        return code[1], page[1]

    async def ends_login(self, account):
        """The rest, after consent in the browser."""
        await self.shows(f"Signed in to Cloud gateway as {re.escape(account)}")
        await self.types("Up", "Enter")
        await self.shows("Connected to Cloud gateway")
        await self.types("Enter")

    @property
    def credentials(self):
        """What the client stored of its sign-in; empty if it is signed out."""
        file = self.config / ".credentials.json"
        return json.loads(file.read_text()).get("enterpriseGateway", {}) if file.exists() else {}
