"""Finds the command, and checks its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from plugway import PlugwayError

LEAST = (2, 1, 0)
"""Oldest supported version, in its minor series."""
INSTALL = "npm install -g @anthropic-ai/claude-code"
_SECONDS = 20


class ClientUnfit(PlugwayError):
    """The installed Claude Code cannot be used."""

    def __init__(self, reason: str, fix: str = f"run `{INSTALL}`") -> None:
        super().__init__(f"{reason}: {fix}")
        self.reason = reason
        self.fix = fix


class ClientMissing(ClientUnfit):
    """Claude Code is not installed."""


@dataclass(frozen=True, slots=True)
class Client:
    """An installed Claude Code."""

    path: str
    version: str
    """Three numbers, e.g. `2.1.329`."""


def find_client(named: str | None = None) -> Client:
    """Find the client on the PATH, where its installer puts it, or at `named`.

    Raises:
        ClientMissing: it is not installed.
        ClientUnfit: it is too old or does not start.
    """
    path = shutil.which(named or "claude") or _usual_place(named)
    if path is None:
        where = f"at `{named}`" if named else "on the PATH"
        raise ClientMissing(f"Claude Code is not installed {where}")
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
        raise ClientUnfit(f"cannot start `{path}` ({error})") from None
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode or found is None:
        raise ClientUnfit(f"`{path} --version` prints no version")
    if tuple(int(part) for part in found.groups()) < LEAST:
        least = ".".join(map(str, LEAST))
        reason = f"Claude Code {found[0]} is too old, {least} is needed"
        raise ClientUnfit(reason, f"run `claude update` or `{INSTALL}`")
    return Client(path, found[0])


def _usual_place(named: str | None) -> str | None:
    """The path of the native installer, which is missing from some shells' PATH."""
    place = Path.home() / ".local/bin/claude"
    return str(place) if named is None and os.access(place, os.X_OK) else None
