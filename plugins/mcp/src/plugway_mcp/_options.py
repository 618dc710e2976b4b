"""Options: MCP servers that are mounted, in the form that people know from `.mcp.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from plugway import Options, Secret, url_problem
from plugway_mcp._presets import presets
from plugway_tools import Effect, guard_proxy

ROOTS: Final = "{roots}"
"""Stands for the folders in `args`: one argument for each."""
PROXY: Final = "{proxy}"
"""Stands in `args` for the address of the proxy that lets public addresses through only."""
MAX_SERVERS: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Text = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]


class ToolOptions(Options):
    """What the user says about one tool."""

    effect: Effect | None = None
    """What a call can do: `read`, `write` or `run`; by default what Plugway knows about the tool,
    else `run`."""
    allowed: bool | None = None
    """Whether the tool is offered; by default if `allow` has its effect."""


class ServerOptions(Options):
    """An MCP server: `command` for one that runs here, or `url`."""

    type: Literal["stdio", "http"] | None = None
    """`stdio` with `command`, `http` (streamable HTTP) with `url`; may be left out."""
    command: Text | None = None
    """Program to start."""
    args: tuple[Text, ...] = ()
    """Its arguments. `{roots}` stands for the folders in `roots`, one argument for each; `{proxy}`
    for the address of a proxy of the gateway that lets public addresses through only."""
    env: dict[str, Secret | str] = Field(default={})
    """Environment variables, besides `PATH`, `HOME`, `USER`, locale, time zone and temporary
    folder; nothing else of the gateway's environment is passed on."""
    cwd: Path | None = None
    """Working folder; by default an empty folder of the server in Plugway's state folder."""
    url: str | None = None
    """Address of a server that speaks streamable HTTP."""
    headers: dict[str, Secret | str] = Field(default={})
    """Headers of every request to `url`."""
    bearer: Secret | None = None
    """Sent to `url` as `Authorization: Bearer ...`."""
    preset: str | None = None
    """The well-known server that this is: `files`, `git`, `fetch`, `memory`, `time` or `browser`.
    The effects of its tools are then known."""
    roots: tuple[Path, ...] = ()
    """Folders that the server may use; absolute, or from `~`. They are announced as MCP roots, and
    replace `{roots}` in `args`."""
    allow: tuple[Effect, ...] = ("read",)
    """Effects of the tools that are offered."""
    tools: dict[str, ToolOptions] = Field(default={})
    """Exceptions, by the server's own names of its tools: `effect`, and `allowed: true` or `false`.
    """
    trust_hints: bool = False
    """Believe the server's annotations: a tool that says it only reads counts as `read`."""
    own_addresses: tuple[str, ...] = ()
    """Addresses of this machine or its network that the proxy of `{proxy}` lets through, too:
    `HOST:PORT`."""
    timeout_seconds: float = Field(default=60, gt=0, le=600)
    """Longest time of a call."""
    start_seconds: float = Field(default=60, gt=0, le=600)
    """Longest time until a server that is started has listed its tools."""
    idle_seconds: float = Field(default=600, gt=0)
    """The server is stopped after this time without a call."""
    result_characters: int = Field(default=100_000, ge=1000, le=1_000_000)
    """Longest text of a result; of a longer one the first quarter of this is returned."""

    @field_validator("cwd", "roots")
    @classmethod
    def _absolute(cls, value: Path | tuple[Path, ...] | None) -> Path | tuple[Path, ...] | None:
        if isinstance(value, tuple):
            return tuple(map(_absolute, value))
        return None if value is None else _absolute(value)

    @field_validator("preset")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value and value not in presets():
            raise ValueError(f"unknown preset; known: {', '.join(presets())}")
        return value

    @field_validator("own_addresses")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        guard_proxy(value)  # says what is wrong with an entry
        return value

    @field_validator("env", "headers")
    @classmethod
    def _clean(cls, value: dict[str, Secret | str]) -> dict[str, Secret | str]:
        for text in map(plain, value.values()):
            if any(character in text for character in "\0\r\n"):
                raise ValueError("a value has a line break or a NUL")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> ServerOptions:
        if bool(self.command) == bool(self.url):
            raise ValueError("needs either `command` or `url`")
        if self.type not in (None, "http" if self.url else "stdio"):
            raise ValueError("type `stdio` needs `command`, and type `http` needs `url`")
        with_key = bool(self.headers or self.bearer)
        if self.url and (problem := url_problem(self.url, with_key=with_key)):
            raise ValueError(f"`url`: {problem}")
        if self.url and (self.args or self.env or self.cwd):
            raise ValueError("`args`, `env` and `cwd` belong to `command`")
        if self.command and (self.headers or self.bearer):
            raise ValueError("`headers` and `bearer` belong to `url`")
        for pattern, names in ((_VARIABLE, self.env), (_HEADER, self.headers)):
            for name in names:
                if not pattern.fullmatch(name):
                    raise ValueError(f"`{name}` is not a valid name")
        if ROOTS in self.args and not self.roots:
            raise ValueError("`{roots}` in `args` needs `roots`")
        return self


class McpOptions(Options):
    """Options of `mcp`."""

    servers: dict[str, ServerOptions] = Field(default={}, max_length=MAX_SERVERS)
    """MCP servers whose tools the gateway offers at `/mcp` and to plugins that run tools, by a name
    of lower-case letters, digits, `-` and `_`. `plugway mcp add` writes an entry."""

    @field_validator("servers")
    @classmethod
    def _names(cls, value: dict[str, ServerOptions]) -> dict[str, ServerOptions]:
        for name in value:
            if not is_name(name):
                raise ValueError(
                    f"`{name[:40]}` should be up to 32 lower-case letters, digits, `-` and `_`"
                )
        return value


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a server."""
    return bool(_NAME.fullmatch(text))


def plain(value: Secret | str) -> str:
    """The text of a value that may be a secret."""
    return value if isinstance(value, str) else value.get_secret_value()


def _absolute(path: Path) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"`{path}`: there is no such user") from None
    if not path.is_absolute():
        raise ValueError(f"`{path}` should be absolute, or start with `~/`")
    return path
