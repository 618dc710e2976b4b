"""The table of well-known servers; read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

from plugway import as_object
from plugway_tools import Effect


@dataclass(frozen=True, slots=True)
class KnownTool:
    """What is known about a tool."""

    effect: Effect
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preset:
    """A well-known server."""

    name: str
    about: str
    version: str
    npm: str = ""
    """The npm package that it is, or empty."""
    pypi: str = ""
    module: str = ""
    """The module of the PyPI package that runs it."""
    args: tuple[str, ...] = ()
    root_args: tuple[str, ...] = ()
    """More arguments if the gateway runs as root."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    folders: Literal["", "many", "repository"] = ""
    """Whether it needs folders: any, or one that is a git repository."""
    config: str = ""
    """Text of a file that `{config}` in `args` stands for."""
    browser: bool = False
    """Whether it needs Chromium."""
    allow: tuple[Effect, ...] = ("read",)
    """Effects that make it useful; shown before they are written."""
    off: tuple[str, ...] = ()
    """Tools that only an exception allows."""
    outside: bool = True
    """Whether its results may contain text of others."""
    parallel: bool = False
    """Whether its calls may run beside each other."""
    tools: Mapping[str, KnownTool] = field(default_factory=dict[str, KnownTool])


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name."""
    text = files("plugway_mcp").joinpath("presets.toml").read_text("utf-8")
    return {name: _preset(name, as_object(row)) for name, row in tomllib.loads(text).items()}


def _preset(name: str, row: Mapping[str, Any]) -> Preset:
    tools = {tool: _tool(words) for tool, words in as_object(row.get("tools")).items()}
    fields: dict[str, Any] = {
        key: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
        for key, value in row.items()
    }
    fields |= {"name": name, "tools": tools}
    return Preset(**fields)


def _tool(words: list[str]) -> KnownTool:
    return KnownTool(cast("Effect", words[0]), tuple(words[1:]))
