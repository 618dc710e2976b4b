"""The tools: what models and retrieval see of them, and what each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from plugway_system_tools import _machine
from plugway_system_tools._desktop import Action
from plugway_system_tools._options import (
    Nothing,
    NoticeArguments,
    PortArguments,
    ProcessArguments,
    TextArguments,
    ToolName,
)
from plugway_tools import Effect


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool."""

    name: ToolName
    description: str
    words: tuple[str, ...]
    arguments: type[BaseModel] = Nothing
    effect: Effect = "read"
    outside: bool = False
    """Whether the result may contain what somebody outside wrote."""
    private: bool = False
    """Whether it reads what a person may want to keep; it has to be switched on by its name."""
    program: Action | None = None
    """What it needs a program of the system for."""
    read: Callable[[], str] | None = None
    """How it is read, where it has no arguments and no program."""


TOOLS: Final = (
    Tool(
        "system_summary",
        "Describe this machine: system, processors, load, uptime, memory, main disk.",
        ("computer", "machine", "hardware", "specs", "os", "version", "uptime", "load", "battery"),
        read=_machine.summary,
    ),
    Tool(
        "system_processes",
        "List running processes by memory, CPU or name, or search them by name.",
        (
            "programs",
            "apps",
            "applications",
            "tasks",
            "running",
            "ps",
            "top",
            "htop",
            "pid",
            "slow",
        ),
        arguments=ProcessArguments,
    ),
    Tool(
        "system_memory",
        "Report how much memory and swap space this machine has, uses and has available.",
        ("ram", "free", "usage", "swap"),
        read=_machine.memory,
    ),
    Tool(
        "system_disks",
        "Report the size and free space of this machine's disks.",
        ("storage", "space", "drive", "full", "df", "partition", "volume", "filesystem"),
        read=_machine.disks,
    ),
    Tool(
        "system_ports",
        "List the network ports that listen on this machine, with their processes.",
        ("listening", "server", "socket", "network", "tcp", "udp", "lsof", "netstat", "used"),
        arguments=PortArguments,
    ),
    Tool(
        "system_clipboard_read",
        "Read the text in the clipboard.",
        ("paste", "copied", "pasteboard"),
        outside=True,
        private=True,
        program="read",
    ),
    Tool(
        "system_clipboard_write",
        "Replace the text in the clipboard.",
        ("copy", "pasteboard", "put"),
        arguments=TextArguments,
        effect="write",
        program="write",
    ),
    Tool(
        "system_screenshot",
        "Take a picture of the screen.",
        ("screen", "capture", "image", "desktop", "display", "see", "window"),
        outside=True,
        private=True,
        program="screenshot",
    ),
    Tool(
        "system_notify",
        "Show a notification on the desktop.",
        ("alert", "remind", "popup", "message", "tell", "notification"),
        arguments=NoticeArguments,
        effect="run",
        program="notify",
    ),
)
