"""Runs the real Claude Code against a gateway, away from the user's own settings."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def claude_binary() -> str:
    """The path of the client; skips the test where it cannot be had."""
    done = subprocess.run([ROOT / "tools/claude-code"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Claude Code cannot be installed here: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Answer:
    """What the client printed, and how it ended."""

    code: int
    out: str
    err: str


class Claude:
    """A client with a home and a project folder of its own."""

    def __init__(self, folder: Path, url: str, token: str, model: str) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        home = folder / "home"
        home.mkdir()
        self._env = {
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "PATH": os.defpath,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_AUTH_TOKEN": token,
            "ANTHROPIC_MODEL": model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    async def start(self, *arguments: str) -> anyio.abc.Process:
        """The process, running."""
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
