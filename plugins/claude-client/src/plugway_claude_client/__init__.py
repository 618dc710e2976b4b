"""Finds Claude Code on this machine: its command, version and folders."""

from plugway_claude_client._client import Client, ClientMissing, ClientUnfit, find_client
from plugway_claude_client._places import (
    claude_folder,
    claude_state_file,
    managed_folder,
    plugway_command,
)

__all__ = [
    "Client",
    "ClientMissing",
    "ClientUnfit",
    "claude_folder",
    "claude_state_file",
    "find_client",
    "managed_folder",
    "plugway_command",
]
