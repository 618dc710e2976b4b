"""The options, as a user writes them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from plugway import Options
from plugway_tools import Effect


class GrantOptions(Options):
    """A grant: these callers may use these tools."""

    callers: tuple[str, ...] = Field(default=("owner",), min_length=1)
    """Patterns of names of callers: `owner` for the gateway's own token, or names of `tokens`."""
    tools: tuple[str, ...] = Field(min_length=1)
    """Patterns of names of tools, such as `files_*`."""
    effects: tuple[Effect, ...] = Field(default=("read",), min_length=1)
    """What these tools may do: `read`, `write` files and data here, `run` programs or act outside.
    """
    roots: tuple[str, ...] = ()
    """Folders that they may use, within those of the tool's own configuration; empty for all of
    these. `~` is the home."""
    trust: tuple[str, ...] = ()
    """Patterns of names of tools whose results you trust. After the result of any other tool that
    may bring text from outside, no call of the request writes or runs."""


class ToolbeltOptions(Options):
    """Options of `toolbelt`."""

    grants: tuple[GrantOptions, ...] = ()
    """Who may use which tools. Without one, nobody may use any."""
    callers: tuple[str, ...] = ()
    """Patterns of names of callers whose requests without tools always get the toolbelt, without
    the header."""
    models: tuple[str, ...] = ()
    """Patterns of requested models whose requests without tools always get it."""
    core: tuple[str, ...] = ("*_read_text_file", "*_write_file", "*_list_directory")
    """Patterns of names of tools that are always offered, if granted. The rest is chosen for each
    request by its words."""
    offered: int = Field(default=8, ge=1, le=64)
    """Most tools that are offered at once, besides `find_tools`."""
    rounds: int = Field(default=8, ge=1, le=100)
    """Most replies of the model with calls within one request."""
    calls: int = Field(default=32, ge=1, le=1000)
    """Most calls within one request."""
    seconds: float = Field(default=600.0, gt=0, le=3600)
    """Time for calls within one request."""
    tokens: int = Field(default=1_000_000, ge=0)
    """Tokens of all requests to the model and its replies, after which no more calls are run; 0 for
    no limit."""
    result_characters: int = Field(default=100_000, ge=100, le=1_000_000)
    """Longest text of a result for the model."""
    progress: Literal["auto", "always", "never"] = "auto"
    """Whether the client sees each call as thinking; `auto` if it asked for thinking."""


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns stands for `name`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
