"""The client's folders and files, and the command that it calls back."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from plugway import PlugwayError


def claude_folder() -> Path:
    """The folder of the client's user settings."""
    return _config_dir() or Path.home() / ".claude"


def claude_state_file() -> Path:
    """The file with its MCP servers and state."""
    return (_config_dir() or Path.home()) / ".claude.json"


def managed_folder() -> Path:
    """The folder of managed settings, by platform (code.claude.com/docs/en/settings)."""
    if sys.platform == "darwin":
        return Path("/Library/Application Support/ClaudeCode")
    if sys.platform == "win32":
        return Path("C:/Program Files/ClaudeCode")
    return Path("/etc/claude-code")


def plugway_command() -> str:
    """The path of this environment's `plugway`. Raises `PlugwayError` if it is missing."""
    own = Path(sysconfig.get_path("scripts")) / ("plugway.exe" if os.name == "nt" else "plugway")
    found = str(own) if own.exists() else shutil.which("plugway")
    if found is None:
        raise PlugwayError("command `plugway` not found; install Plugway again")
    return found


def _config_dir() -> Path | None:
    named = os.environ.get("CLAUDE_CONFIG_DIR")
    return Path(named).expanduser() if named else None
