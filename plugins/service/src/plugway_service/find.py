"""Finds the services that Plugway installed for this user."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from threading import Event
from typing import Final

import platformdirs

from plugway import PlugwayError
from plugway_service._launchd import Launchd
from plugway_service._model import Manager, Service, Step, service_in
from plugway_service._run import run, said
from plugway_service._systemd import Systemd
from plugway_service._task import TaskScheduler

_RETRY_SECONDS: Final = 0.5


def manager() -> Manager:
    """The manager of this system."""
    if sys.platform == "darwin":
        return Launchd()
    return TaskScheduler() if sys.platform == "win32" else Systemd()


def installed(system: Manager) -> list[Service]:
    """The services that Plugway installed."""
    paths = sorted(system.folder.glob("plugway*"))
    found = [service_in(text_of(path)) for path in paths if path.is_file()]
    return [service for service in found if service and system.path(service.unit) in paths]


def installed_on(port: int, config: Path | None) -> Service | None:
    """The service with this port and configuration, running or not.

    None is the installed stack, which runs until there is a file at the default path.
    """
    default = platformdirs.user_config_path("plugway", appauthor=False) / "config.yaml"
    wanted = config.expanduser().absolute() if config else None
    for service in installed(manager()):
        same = service.config == wanted or (service.config is None and wanted == default)
        if service.port == port and same:
            return service
    return None


def start(service: Service) -> None:
    """Start an installed service, and wait until it is ready where the system reports it.

    Raises `PlugwayError`.
    """
    system = manager()
    if problem := system.problem():
        raise PlugwayError(problem)
    try:
        carry_out(system.start_steps(service.unit))
    except PlugwayError as error:
        reason = system.state(service.unit).failure or error
        raise PlugwayError(
            f"the service `{service.name}` does not start: {reason}. `plugway service logs --name "
            f"{service.name}` shows its log, `plugway service uninstall` removes it"
        ) from None


def carry_out(steps: list[Step]) -> None:
    """Run the commands in order. Raises `PlugwayError` at the first one that fails."""
    pause = Event()
    for step in steps:
        deadline = time.monotonic() + step.patience
        while (done := run(step.words)).returncode and time.monotonic() < deadline:
            pause.wait(_RETRY_SECONDS)
        if done.returncode and step.required:
            raise PlugwayError(f"`{' '.join(step.words)}` failed: {said(done)}")


def text_of(path: Path) -> str:
    """The text of a service's file; empty if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if utf16 else "utf-8", "replace")
