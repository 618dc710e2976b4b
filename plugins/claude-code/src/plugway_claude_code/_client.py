"""Claude Code on this machine: where it is, and whether it is new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from plugway import PlugwayError

LEAST = (2, 1, 0)
"""Oldest version that the settings written here were tried with, in its minor series."""
INSTALL = "npm install -g @anthropic-ai/claude-code"
_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Client:
    """An installed Claude Code."""

    path: str
    version: tuple[int, ...]


def find_client(named: str | None = None) -> Client:
    """The client on the path, or at `named`.

    Raises:
        PlugwayError: it is missing, too old or does not start; the message says what to run.
    """
    path = shutil.which(named or "claude") or _usual_place(named)
    if path is None:
        where = f"at `{named}`" if named else "on the PATH"
        raise PlugwayError(f"Claude Code is not installed {where}: run `{INSTALL}`")
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlugwayError(f"`{path}` does not start ({error}): run `{INSTALL}`") from None
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode or found is None:
        raise PlugwayError(f"`{path} --version` tells no version: run `{INSTALL}`")
    version = tuple(int(part) for part in found.groups())
    if version < LEAST:
        least = ".".join(map(str, LEAST))
        raise PlugwayError(
            f"Claude Code {found[0]} is too old, {least} is needed: run `claude update` "
            f"or `{INSTALL}`"
        )
    return Client(path, version)


def claude_folder() -> Path:
    """Where the client keeps its user settings."""
    named = os.environ.get("CLAUDE_CONFIG_DIR")
    return Path(named).expanduser() if named else Path.home() / ".claude"


def claude_state_file() -> Path:
    """The file with its MCP servers and its own state."""
    named = os.environ.get("CLAUDE_CONFIG_DIR")
    return (Path(named).expanduser() if named else Path.home()) / ".claude.json"


def _usual_place(named: str | None) -> str | None:
    """The place of the native installer, which not every shell has on its path."""
    place = Path.home() / ".local/bin/claude"
    return str(place) if named is None and os.access(place, os.X_OK) else None
