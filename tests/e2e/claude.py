"""Runs the real Claude Code against a gateway, isolated from the user's own settings."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tools.newest import recorded

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools/claude-code"
VERSIONS = os.environ.get("PLUGWAY_CLAUDE_VERSIONS", "2.1.329,2.1.332").split(",")
"""The client versions that tests run with, the newest last: tests marked `core` use each version,
others the newest, and with PLUGWAY_SLOW=1 all tests use each."""
_version = VERSIONS[-1]


@contextmanager
def version_of_claude(version: str) -> Iterator[None]:
    """Run the tests inside with that version."""
    global _version
    before, _version = _version, version
    try:
        yield
    finally:
        _version = before


def claude_binary() -> str:
    """The path of the client; skips the test if it is not available."""
    path, problem = _looked_for(TOOL, _version)
    if problem:
        pytest.skip(f"Claude Code {_version} cannot be installed here: {problem[-300:]}")
    return path


@functools.cache
def _looked_for(tool: Path, version: str) -> tuple[str, str]:
    """The path, or the problem; cached for the whole test run, even if it fails."""
    done = subprocess.run([tool, version], capture_output=True, text=True)
    return done.stdout.strip(), done.stderr.strip() if done.returncode else ""


@dataclass(frozen=True)
class Answer:
    """The client's output and exit code."""

    code: int
    out: str
    err: str


class Claude:
    """A client with its own home and project folder."""

    def __init__(self, folder: Path, url: str, token: str, model: str, **more: str) -> None:
        """`more` are further variables of its environment."""
        self.project = folder / "project"
        self.project.mkdir()
        home = folder / "home"
        home.mkdir()
        self._env = {
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "PATH": os.defpath,
            "ANTHROPIC_BASE_URL": recorded(url),
            "ANTHROPIC_AUTH_TOKEN": token,
            "ANTHROPIC_MODEL": model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            **more,
        }

    def trust(self, authority: Path) -> None:
        """Trust the certificates of an authority (PEM) too."""
        self._env["NODE_EXTRA_CA_CERTS"] = str(authority)

    def settings(self, values: Mapping[str, object]) -> None:
        """Write the user's `settings.json`."""
        folder = Path(self._env["CLAUDE_CONFIG_DIR"])
        folder.mkdir(exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(values))

    async def start(self, *arguments: str) -> anyio.abc.Process:
        """Start the process."""
        return await anyio.open_process(
            [claude_binary(), *arguments],
            env=self._env,
            cwd=self.project,
            stdin=subprocess.DEVNULL,
        )

    async def run(self, *arguments: str, seconds: float = 60) -> Answer:
        """Run to the end."""
        with anyio.fail_after(seconds):
            done = await anyio.run_process(
                [claude_binary(), *arguments],
                env=self._env,
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


async def interrupt(process: anyio.abc.Process) -> None:
    """Ctrl-C, and wait for the end."""
    process.send_signal(signal.SIGINT)
    with anyio.fail_after(10):
        await process.wait()
    await process.aclose()
