"""Options of the plugin, and the arguments of its tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from plugway import Options
from plugway_tools import Effect

ToolName = Literal[
    "system_summary",
    "system_processes",
    "system_memory",
    "system_disks",
    "system_ports",
    "system_clipboard_read",
    "system_clipboard_write",
    "system_screenshot",
    "system_notify",
]


class SystemToolsOptions(Options):
    """Options of `system-tools`."""

    allow: tuple[Effect, ...] = ("read",)
    """What tools may do: `read`; `write` sets the clipboard; `run` shows notifications. Reading the
    clipboard and the screen is private and has to be switched on in `tools`."""
    tools: Mapping[ToolName, bool] = {}
    """Single tools that are on or off, whatever `allow` says, such as
    `{system_screenshot: true}`."""
    command_lines: bool = False
    """Whether lists of processes show command lines, without what looks like a password or key.
    They may contain text from outside, such as names of downloaded files."""
    timeout_seconds: float = Field(default=15.0, gt=0, le=120)
    """How long one call may take."""


class Arguments(BaseModel):
    """Arguments of a tool."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Nothing(Arguments):
    """No arguments."""


class ProcessArguments(Arguments):
    """Arguments of `system_processes`."""

    sort: Literal["memory", "cpu", "name"] = "memory"
    """What comes first: the most memory, the most CPU time in a third of a second, or the name."""
    search: str = Field(default="", max_length=100)
    """Only processes whose name contains this, in upper or lower case."""
    limit: int = Field(default=20, ge=1, le=100)
    """How many are listed."""


class PortArguments(Arguments):
    """Arguments of `system_ports`."""

    port: int | None = Field(default=None, ge=1, le=65_535)
    """Only this port."""


class TextArguments(Arguments):
    """Arguments of `system_clipboard_write`."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    """The new content of the clipboard."""


class NoticeArguments(Arguments):
    """Arguments of `system_notify`."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    """The first line."""
    message: str = Field(default="", max_length=500)
    """The text below it."""
