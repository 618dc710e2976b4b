"""What a service is: its name, its command, and the line by which its file is recognized."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from plugway import PlugwayError, as_object

WRITTEN_BY: Final = "Written by `plugway service install`; `plugway service uninstall` removes it."
_MARK: Final = re.compile(r"plugway-service (\{.*\})")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
DEFAULT_NAME: Final = "default"


def unit_name(name: str) -> str:
    """The name under which the system knows the service. Raises `PlugwayError`."""
    if not _NAME.fullmatch(name):
        raise PlugwayError(
            f"invalid service name {name!r}: use up to 32 lower-case letters, digits and `-`"
        )
    return "plugway" if name == DEFAULT_NAME else f"plugway-{name}"


@dataclass(frozen=True, slots=True)
class Service:
    """A gateway that the system runs for this user."""

    name: str
    """The user's name for it."""
    config: Path | None
    """Its configuration; None runs the installed stack."""
    port: int
    """The port it listens on."""
    fixed_port: bool
    """Whether `--port` overrides the configuration."""
    log: Path | None
    """The file of its log; None if the system's journal has it."""

    @property
    def unit(self) -> str:
        """The name under which the system knows it."""
        return unit_name(self.name)

    def arguments(self) -> list[str]:
        """The arguments of `plugway service serve`."""
        words = ["--config", str(self.config)] if self.config else []
        return [*words, "--port", str(self.port)] if self.fixed_port else words

    @property
    def mark(self) -> str:
        """The line in its file by which it is recognized. ASCII, and without `--`, which XML does
        not allow in a comment."""
        values = {
            "name": self.name,
            "config": str(self.config) if self.config else None,
            "port": self.port,
            "fixed_port": self.fixed_port,
            "log": str(self.log) if self.log else None,
        }
        return f"plugway-service {json.dumps(values)}".replace("--", "\\u002d\\u002d")


def service_in(text: str) -> Service | None:
    """The service whose file this is; None if Plugway did not write it."""
    found = _MARK.search(text)
    try:
        values = as_object(json.loads(found[1])) if found else {}
    except ValueError:
        return None
    name, port = values.get("name"), values.get("port")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(port, int):
        return None
    return Service(
        name, _path(values, "config"), port, values.get("fixed_port") is True, _path(values, "log")
    )


def _path(values: Mapping[str, object], key: str) -> Path | None:
    value = values.get(key)
    return Path(value) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Setting:
    """What the file of a service contains besides the service."""

    command: Sequence[str]
    """The command that runs `plugway service serve`, without arguments."""
    environment_file: Path
    """Variables for the service, such as keys."""
    variables: Mapping[str, str]
    """Variables that locate the user's folders."""
    writable: Sequence[Path]
    """Folders that the service may write to, if it is sandboxed."""
    isolated: bool
    """Whether it gets its own view of the file system."""
    stop_seconds: int = 40
    """How long it may take to stop."""


@dataclass(frozen=True, slots=True)
class State:
    """What the system says about a service."""

    running: bool = False
    starting: bool = False
    enabled: bool | None = None
    """Whether it starts at login; None if the system does not say."""
    pid: int | None = None
    since: float | None = None
    """When it started, in seconds since 1970."""
    restarts: int = 0
    """How often it was restarted after a failure."""
    failure: str = ""
    """Why it ended, and what to do."""


class Step(NamedTuple):
    """A command of the system."""

    words: Sequence[str]
    required: bool = True
    """Whether its failure ends the operation."""
    patience: float = 0.0
    """For how many seconds it is repeated while it fails."""


class Manager(Protocol):
    """The part of the system that runs services of a user."""

    title: str
    """Its name, for messages."""

    @property
    def folder(self) -> Path:
        """The folder with the files of services."""
        ...

    def path(self, unit: str) -> Path:
        """The file of a service."""
        ...

    def content(self, service: Service, setting: Setting) -> bytes:
        """The file for a service."""
        ...

    def problem(self) -> str:
        """Why services cannot be managed here, with a fix; empty if they can."""
        ...

    def can_isolate(self) -> bool:
        """Whether services can get their own view of the file system."""
        ...

    def trial(self, setting: Setting) -> list[str]:
        """The beginning of a command that runs another one as a service would run; empty if the
        system has none."""
        ...

    def keeps_log(self) -> bool:
        """Whether the system keeps a log that this user can read."""
        ...

    def install_steps(self, unit: str) -> list[Step]:
        """The commands that start a service now and at login, after its file is written."""
        ...

    def start_steps(self, unit: str) -> list[Step]:
        """The commands that start an installed service."""
        ...

    def stop_steps(self, unit: str) -> list[Step]:
        """The commands that stop a service, now and at login, before its file is removed."""
        ...

    def removed_steps(self, unit: str) -> list[Step]:
        """The commands after the file of a service is removed."""
        ...

    def state(self, unit: str) -> State:
        """What the system says about a service."""
        ...

    def log_command(self, unit: str, lines: int, *, follow: bool) -> list[str]:
        """The command that prints the log that the system keeps."""
        ...

    def notes(self, unit: str) -> list[str]:
        """What the user should know after an installation."""
        ...


def exit_meaning(status: int) -> str:
    """What an exit code of `plugway serve` means, with a fix."""
    return {
        1: "the gateway failed; its log says why",
        2: "the configuration or its plugins are invalid; `plugway check` says where",
        3: "the gateway could not start: its port is in use, it would be reachable without "
        "protection, or a plugin failed to start; its log says which",
    }.get(status, "its log may say why")
