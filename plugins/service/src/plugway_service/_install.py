"""Plans the installation of a service, shows it, and carries it out."""

from __future__ import annotations

import difflib
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Final

import platformdirs

from plugway import LocalGateway, PlugwayError, write_file
from plugway_claude_client import plugway_command
from plugway_service import _checks
from plugway_service._logs import last_lines
from plugway_service._model import Manager, Service, Setting, Step, service_in, unit_name
from plugway_service.find import carry_out, installed, text_of

_READY_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.05
_CLEAN_UP_SECONDS: Final = 12
"""The gateway ends itself four seconds after its drain time; its plugins may need some before."""
_ENVIRONMENT: Final = b"""\
# Variables for the gateway as a service, which does not see those of your shell. One per line:
# ANTHROPIC_API_KEY=...
# They take effect when the service is restarted. Keep this file readable for you only.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asks for."""

    name: str
    config: Path | None
    port: int | None
    writable: Sequence[Path]
    isolate: bool
    as_root: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What an installation writes and runs."""

    system: Manager
    gateway: LocalGateway
    service: Service
    setting: Setting
    before: str | None
    """The text of the file now; None if there is none."""
    content: bytes
    """What is written into it."""
    steps: Sequence[Step]

    @property
    def path(self) -> Path:
        """The service's file."""
        return self.system.path(self.service.unit)

    def lines(self) -> list[str]:
        """The plan, for the user."""
        after = text_of_bytes(self.content)
        if self.before is None:
            shown = [f"write {self.path}:", *(f"  {line}" for line in after.splitlines())]
        elif self.before == after:
            shown = [f"keep {self.path}, which has not changed"]
        else:
            diff = difflib.unified_diff(
                self.before.splitlines(), after.splitlines(), "now", "new", lineterm=""
            )
            shown = [f"change {self.path}:", *(f"  {line}" for line in diff)]
        if not self.setting.environment_file.exists():
            shown.append(f"write {self.setting.environment_file}, without variables, for you only")
        shown += [f"run   {' '.join(step.words)}" for step in self.steps]
        return shown

    def as_json(self) -> dict[str, Any]:
        """The plan, for a script."""
        return {
            "name": self.service.name,
            "unit": self.service.unit,
            "manager": self.system.title,
            "path": str(self.path),
            "changed": self.before != text_of_bytes(self.content),
            "config": str(self.service.config) if self.service.config else None,
            "address": self.gateway.url,
            "environment_file": str(self.setting.environment_file),
            "log": str(self.service.log) if self.service.log else None,
            "isolated": self.setting.isolated,
            "commands": [list(step.words) for step in self.steps],
        }


def make_plan(system: Manager, wanted: Wanted) -> Plan:
    """Check everything that can be checked before anything is written. Raises `PlugwayError`."""
    unit = unit_name(wanted.name)
    _checks.not_root(wanted.as_root)
    config = _config(wanted.config)
    command = plugway_command()
    places = {"the command `plugway`": Path(command), "its Python": Path(sys.prefix)}
    _checks.lasting({**places, "the configuration": config})
    path = system.path(unit)
    before = text_of(path) if os.path.lexists(path) else None
    known = service_in(before) if before is not None else None
    if before is not None and (known is None or known.name != wanted.name):
        raise PlugwayError(
            f"`{path}` was not written by Plugway: remove it, or choose another name with `--name`"
        )
    for folder in wanted.writable:
        if not folder.expanduser().is_dir():
            raise PlugwayError(f"there is no folder `{folder}` to write to: create it first")
    environment_file = platformdirs.user_config_path("plugway", appauthor=False) / "environment"
    folders = _checks.folder_variables()
    if problem := system.problem():
        raise PlugwayError(problem)
    setting = Setting(
        _command(command),
        environment_file,
        folders,
        [*_own_folders(), *(folder.expanduser().absolute() for folder in wanted.writable)],
        isolated=wanted.isolate and system.can_isolate(),
    )
    _checks.writable_text([Path(command), environment_file, *setting.writable, config or path])
    _checks.valid_configuration(command, config, system.trial(setting), setting)
    gateway = LocalGateway.find(config, wanted.port)
    log = None if system.keeps_log() else _state_folder() / f"{unit}.log"
    service = Service(wanted.name, config, gateway.port, wanted.port is not None, log)
    _checks.own_port(service, installed(system), gateway)
    _checks.free_port(gateway, system, known)
    drain = math.ceil(gateway.server.drain_seconds) + _CLEAN_UP_SECONDS
    setting = replace(setting, stop_seconds=drain)
    content = system.content(service, setting)
    return Plan(system, gateway, service, setting, before, content, system.install_steps(unit))


def install(plan: Plan) -> float:
    """Write the files, run the commands, and wait for the gateway; returns the seconds that its
    start took. Raises `PlugwayError`."""
    for folder in _own_folders():
        _written(folder, lambda folder=folder: folder.mkdir(0o700, parents=True, exist_ok=True))
    for file, content in (
        (plan.setting.environment_file, _ENVIRONMENT),
        (plan.service.log, b""),
    ):
        if file is not None and not file.exists():
            _written(file, lambda file=file, content=content: write_file(file, content))
    _written(plan.path, lambda: write_file(plan.path, plan.content))
    begun = time.monotonic()
    try:
        carry_out(list(plan.steps))
        _wait_until_ready(plan)
    except PlugwayError as error:
        raise PlugwayError(_why(plan, error)) from None
    return time.monotonic() - begun


def warnings(plan: Plan) -> list[str]:
    """What the user should know about the installed service."""
    notes = plan.system.notes(plan.service.unit)
    file = plan.setting.environment_file
    if os.name == "posix" and file.exists() and file.stat().st_mode & 0o077:
        notes.append(f"others can read {file}: run `chmod 600 {file}`")
    if plan.system.title == "systemd" and not plan.setting.isolated:
        notes.append(
            "it can write to all your files, because it has no file system of its own "
            "(`--no-isolate`, or the system refuses user namespaces); the rest of the sandbox is on"
        )
    if plan.service.log:
        notes.append(f"its log is {plan.service.log}, which is not rotated")
    return notes


def text_of_bytes(content: bytes) -> str:
    """The text of a service's file."""
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")


def _config(given: Path | None) -> Path | None:
    """The configuration that `plugway serve` would use, absolute."""
    if given is not None:
        path = given.expanduser().absolute()
        if not path.is_file():
            raise PlugwayError(f"there is no configuration `{path}`")
        return path
    found = LocalGateway.find()
    return found.config_path.absolute() if found.configured else None


def _command(plugway: str) -> list[str]:
    """The command without arguments; on Windows one that opens no console."""
    if sys.platform == "win32":
        quiet = Path(sys.executable).with_name("pythonw.exe")
        return [str(quiet), "-m", "plugway_service", "serve"]
    return [plugway, "service", "serve"]


def _own_folders() -> list[Path]:
    """The gateway's folders: its token and databases, models, and caches."""
    return [
        _state_folder(),
        platformdirs.user_data_path("plugway", appauthor=False),
        platformdirs.user_cache_path("plugway", appauthor=False),
    ]


def _state_folder() -> Path:
    return platformdirs.user_state_path("plugway", appauthor=False)


def _written(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise PlugwayError(f"cannot write `{path}`: {error.strerror or error}") from None


def _wait_until_ready(plan: Plan) -> None:
    """Wait until the gateway answers, which systemd has done already."""
    pause, deadline = Event(), time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(PlugwayError):  # still loading
            if plan.gateway.state() is not None:
                return
        if plan.system.state(plan.service.unit).failure:
            raise PlugwayError("it failed")
        pause.wait(_POLL_SECONDS)
    raise PlugwayError(f"it did not answer within {_READY_SECONDS:g} s")


def _why(plan: Plan, error: PlugwayError) -> str:
    """Why the service does not run, with the end of its log."""
    reason = str(error)
    with suppress(PlugwayError):
        failure = plan.system.state(plan.service.unit).failure
        reason = failure or reason
    lines = [f"  {line}" for line in last_lines(plan.system, plan.service, 8)]
    left = f"the service is installed but does not run: {reason}"
    return "\n".join([left, *lines, "`plugway service uninstall` removes it"])
