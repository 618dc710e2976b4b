"""What is known about the installed services, as text and as JSON."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from plugway import LocalGateway, PlugwayError
from plugway_service._logs import last_lines
from plugway_service._model import Manager, Service, State

_LAST_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Status:
    """One installed service."""

    service: Service
    path: Path
    state: State
    address: str
    problem: str
    """Why the system or the configuration could not be asked."""
    log: tuple[str, ...]
    """The end of its log, if it failed."""

    def as_json(self) -> dict[str, Any]:
        """It, for a script."""
        since = self.state.since
        return {
            "name": self.service.name,
            "unit": self.service.unit,
            "path": str(self.path),
            "config": str(self.service.config) if self.service.config else None,
            "address": self.address or None,
            "running": self.state.running,
            "enabled": self.state.enabled,
            "pid": self.state.pid,
            "since": datetime.fromtimestamp(since).astimezone().isoformat() if since else None,
            "restarts": self.state.restarts,
            "failure": self.state.failure or None,
            "problem": self.problem or None,
            "log": list(self.log),
        }

    def lines(self) -> list[str]:
        """It, for the user."""
        known = self.state
        word = "runs" if known.running else "failed" if known.failure else "is stopped"
        word = "is starting" if known.starting else word
        pid = f" (process {known.pid})" if known.running and known.pid else ""
        since = (
            f" since {datetime.fromtimestamp(known.since):%Y-%m-%d %H:%M:%S}" if known.since else ""
        )
        at = f" at {self.address}" if self.address and known.running else ""
        first = f"{self.service.name}: {word}{at}{since}{pid}"
        if self.problem and known == State():
            first = f"{self.service.name}: unknown"
        rows = [
            ("file", str(self.path)),
            ("config", str(self.service.config or "the installed stack")),
            ("at login", {True: "starts", False: "does not start", None: "unknown"}[known.enabled]),
            ("restarts", f"{known.restarts} after a failure" if known.restarts else ""),
            ("failure", known.failure),
            ("problem", self.problem),
        ]
        shown = [f"  {name:9} {value}" for name, value in rows if value]
        return [first, *shown, *(f"  | {line}" for line in self.log)]


def status_of(system: Manager, service: Service) -> Status:
    """Ask the system, and the gateway itself where the system does not know."""
    state, problem, address, answered = State(), system.problem(), "", None
    try:
        gateway = LocalGateway.find(service.config, service.port if service.fixed_port else None)
        address = gateway.url
        answered = gateway.state()
    except PlugwayError as error:
        problem = problem or str(error)
    if not system.problem():
        with suppress(PlugwayError):
            state = system.state(service.unit)
    pid = answered.get("pid") if answered else None
    if (
        isinstance(pid, int)
        and state.pid is None
        and not state.failure
        and _only_the_gateway_knows(system)
    ):
        state = State(running=True, enabled=state.enabled, pid=pid)
    log = last_lines(system, service, _LAST_LINES) if state.failure else []
    return Status(service, system.path(service.unit), state, address, problem, tuple(log))


def _only_the_gateway_knows(system: Manager) -> bool:
    return system.title == "Task Scheduler"
