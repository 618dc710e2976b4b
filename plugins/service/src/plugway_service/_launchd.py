"""Services of launchd, as agents of this user (macOS). Not run on a Mac yet.

From `launchd.plist(5)` and `launchctl(1)`.
"""

from __future__ import annotations

import os
import plistlib
import re
import shutil
from pathlib import Path
from typing import Any, Final

from plugway_service._model import WRITTEN_BY, Service, Setting, State, Step, exit_meaning
from plugway_service._run import run, said

_PID: Final = re.compile(r"^\s*pid = (\d+)$", re.MULTILINE)
_EXIT: Final = re.compile(r"^\s*last exit code = (\d+)", re.MULTILINE)
_HEADER: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'


class Launchd:
    """launchd's domain of this user's graphical session."""

    title = "launchd"

    @property
    def folder(self) -> Path:
        """The folder with this user's agents."""
        return Path.home() / "Library" / "LaunchAgents"

    def path(self, unit: str) -> Path:
        """The agent's property list."""
        return self.folder / f"{unit}.plist"

    def content(self, service: Service, setting: Setting) -> bytes:
        """The property list, with a comment by which it is recognized."""
        environment = ["--environment", str(setting.environment_file)]
        document: dict[str, Any] = {
            "Label": service.unit,
            "ProgramArguments": [*setting.command, *environment, *service.arguments()],
            "EnvironmentVariables": dict(setting.variables),
            "RunAtLoad": True,
            # After a failure, ten seconds later; launchd does not distinguish exit codes.
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ExitTimeOut": setting.stop_seconds,
            # An agent is throttled like a background job by default.
            "ProcessType": "Interactive",
            # The default of an agent is 256; the gateway refuses connections before it runs out.
            "SoftResourceLimits": {"NumberOfFiles": 8192},
            "Umask": 0o077,
            "StandardOutPath": str(service.log),
            "StandardErrorPath": str(service.log),
        }
        text = plistlib.dumps(document, sort_keys=False).decode()
        comment = f"<!-- {WRITTEN_BY} -->\n<!-- {service.mark} -->\n"
        return (_HEADER + comment + text.removeprefix(_HEADER)).encode()

    def problem(self) -> str:
        """Why there is no session to run agents in."""
        if shutil.which("launchctl") is None:
            return "`launchctl` is missing"
        done = run(["launchctl", "print", _domain()], 20)
        if done.returncode == 0:
            return ""
        return (
            f"launchd has no graphical session of this user ({said(done)}): log in at the Mac's "
            "screen, or by screen sharing, not with `ssh` or `sudo`"
        )

    def can_isolate(self) -> bool:
        """Property lists have no sandbox."""
        return False

    def trial(self, setting: Setting) -> list[str]:
        """The system has none."""
        return []

    def keeps_log(self) -> bool:
        """launchd writes output to a file."""
        return False

    def install_steps(self, unit: str) -> list[Step]:
        """Load the file, which starts it now and at login."""
        return [
            Step(["launchctl", "bootout", f"{_domain()}/{unit}"], required=False),
            Step(["launchctl", "enable", f"{_domain()}/{unit}"]),
            # It fails until an older process has ended.
            Step(["launchctl", "bootstrap", _domain(), str(self.path(unit))], patience=60),
        ]

    def start_steps(self, unit: str) -> list[Step]:
        """Load it if it is not loaded, and start it."""
        return [
            Step(["launchctl", "bootstrap", _domain(), str(self.path(unit))], required=False),
            Step(["launchctl", "kickstart", f"{_domain()}/{unit}"]),
        ]

    def stop_steps(self, unit: str) -> list[Step]:
        """Unload it."""
        return [Step(["launchctl", "bootout", f"{_domain()}/{unit}"], required=False)]

    def removed_steps(self, unit: str) -> list[Step]:
        """Nothing: without a file, launchd has no trace of it."""
        return []

    def state(self, unit: str) -> State:
        """From `launchctl print`, whose text may change between versions of macOS: without a match
        only whether it is loaded is known."""
        done = run(["launchctl", "print", f"{_domain()}/{unit}"], 20)
        if done.returncode != 0:
            return State()
        pid, status = _PID.search(done.stdout), _EXIT.search(done.stdout)
        code = int(status[1]) if status else 0
        failure = f"exit code {code}: {exit_meaning(code)}" if code and not pid else ""
        return State(
            running=pid is not None,
            enabled=True,
            pid=int(pid[1]) if pid else None,
            failure=failure,
        )

    def log_command(self, unit: str, lines: int, *, follow: bool) -> list[str]:
        """Not used: its log is a file."""
        return []

    def notes(self, unit: str) -> list[str]:
        """When it runs."""
        return ["it starts when you log in at the screen, and ends when you log out"]


def _domain() -> str:
    uid: int = getattr(os, "getuid", lambda: 0)()
    return f"gui/{uid}"
