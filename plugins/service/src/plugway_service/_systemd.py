"""Services of systemd's user manager (Linux)."""

from __future__ import annotations

import getpass
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from plugway_service._model import Service, Setting, State, Step, exit_meaning
from plugway_service._run import run, said
from plugway_service._unit import ISOLATION, unit_text

_SHOWN: Final = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NRestarts",
    "Result",
    "ExecMainStatus",
    "ActiveEnterTimestampMonotonic",
)
_JOURNALS: Final = Path("/var/log/journal")
"""Where systemd keeps journals on disk, of each user apart."""
_TRIAL: Final = ("systemd-run", "--user", "--wait", "--collect", "--quiet")
_RUNNING: Final = frozenset({"active", "reloading"})
_RESULTS: Final = {
    "oom-kill": "the system ran out of memory",
    "timeout": "it did not start or stop in time",
    "watchdog": "it did not respond",
    "start-limit-hit": "it was started too often in two minutes, so systemd gave up",
    "protocol": "it ended before it was ready",
    "resources": "systemd could not set it up; `journalctl --user` says why",
}
_SYSTEMD_EXITS: Final = {
    200: "systemd cannot enter its working folder",
    203: "its program is missing; was the environment moved or removed? "
    "Run `plugway service install` again",
    209: "systemd cannot write to its log file",
    217: "the system refuses user namespaces; run `plugway service install` again",
    226: "the system refuses its sandbox; run `plugway service install` again",
    228: "the system refuses its system call filter",
}
"""`systemd.exec(5)`, "Process Exit Codes"."""


class Systemd:
    """systemd's manager of this user."""

    title = "systemd"

    @property
    def folder(self) -> Path:
        """The folder with this user's units."""
        home = os.environ.get("XDG_CONFIG_HOME")
        return (Path(home) if home else Path.home() / ".config") / "systemd" / "user"

    def path(self, unit: str) -> Path:
        """The unit's file."""
        return self.folder / f"{unit}.service"

    def content(self, service: Service, setting: Setting) -> bytes:
        """The unit."""
        return unit_text(service, setting).encode()

    def problem(self) -> str:
        """Why `systemctl --user` does not work here."""
        if shutil.which("systemctl") is None:
            return (
                "`systemctl` is missing, so this system does not use systemd: start `plugway serve`"
                " with what it uses instead"
            )
        done = run(["systemctl", "--user", "show", "--property=Version"], 20)
        if done.returncode == 0:
            return ""
        return (
            f"systemd's user manager does not respond ({said(done)}): sign in as this user, in a "
            "desktop session or with `ssh`, not with `su` or `sudo`. On a server run "
            f"`sudo loginctl enable-linger {_user()}` first, then set "
            "`XDG_RUNTIME_DIR=/run/user/$(id -u)`. On WSL, set `systemd=true` under `[boot]` in "
            "`/etc/wsl.conf`. A container needs no service: it runs `plugway serve`"
        )

    def can_isolate(self) -> bool:
        """Whether a trial run with the options that need namespaces works."""
        return run([*_TRIAL, *_properties(ISOLATION), "/bin/true"], 30).returncode == 0

    def trial(self, setting: Setting) -> list[str]:
        """`systemd-run` with the sandbox; it does not expand `%`."""
        options = [
            *(ISOLATION if setting.isolated else ()),
            f"EnvironmentFile=-{setting.environment_file}",
        ]
        variables = [f"--setenv={name}={value}" for name, value in setting.variables.items()]
        return [*_TRIAL, "--pipe", *_properties(options), *variables]

    def keeps_log(self) -> bool:
        """Whether this user can read the journal of its services.

        Without a journal on disk, all services share one, which users cannot read.
        """
        with suppress(OSError):
            if any(_JOURNALS.iterdir()):
                return True
        if shutil.which("journalctl") is None:
            return False
        return run(["journalctl", "--user", "--lines=1", "--quiet"], 20).returncode == 0

    def install_steps(self, unit: str) -> list[Step]:
        """Read the file, start at login, and start now."""
        return [
            _step("daemon-reload"),
            _step("enable", f"{unit}.service"),
            *self.start_steps(unit),
        ]

    def start_steps(self, unit: str) -> list[Step]:
        """Start, also after it was given up."""
        return [
            _step("reset-failed", f"{unit}.service", required=False),
            _step("restart", f"{unit}.service"),
        ]

    def stop_steps(self, unit: str) -> list[Step]:
        """Stop now and at login."""
        return [_step("disable", "--now", f"{unit}.service")]

    def removed_steps(self, unit: str) -> list[Step]:
        """Forget it, also that it failed."""
        return [_step("daemon-reload"), _step("reset-failed", f"{unit}.service", required=False)]

    def state(self, unit: str) -> State:
        """From `systemctl show`, which is meant for programs."""
        words = ["systemctl", "--user", "show", f"{unit}.service", f"--property={','.join(_SHOWN)}"]
        shown: dict[str, str] = {}
        for line in run(words, 20).stdout.splitlines():
            name, _, value = line.partition("=")
            shown[name] = value
        running = shown.get("ActiveState") in _RUNNING
        entered = _number(shown.get("ActiveEnterTimestampMonotonic"))
        return State(
            running=running,
            starting=shown.get("ActiveState") == "activating" and shown["SubState"] == "start",
            enabled=shown.get("UnitFileState") == "enabled",
            pid=_number(shown.get("MainPID")) or None,
            # systemd's clock is the one of `time.monotonic` (CLOCK_MONOTONIC).
            since=time.time() - time.monotonic() + entered / 1e6 if running and entered else None,
            restarts=_number(shown.get("NRestarts")),
            failure="" if running else _failure(shown),
        )

    def log_command(self, unit: str, lines: int, *, follow: bool) -> list[str]:
        """`journalctl` for the unit."""
        words = ["journalctl", "--user", f"--user-unit={unit}.service", f"--lines={lines}"]
        return [*words, "--no-pager", "--quiet", *(["--follow"] if follow else [])]

    def notes(self, unit: str) -> list[str]:
        """How to run it without a login."""
        lines = [f"it starts when you log in; `systemctl --user stop {unit}` stops it until then"]
        if not _lingers():
            lines.append(
                "to run it from boot on, without a login (on a server): "
                f"`sudo loginctl enable-linger {_user()}`"
            )
        return lines


def _properties(options: Sequence[str]) -> list[str]:
    return [f"--property={option}" for option in options]


def _step(*words: str, required: bool = True) -> Step:
    return Step(["systemctl", "--user", *words], required)


def _lingers() -> bool:
    return Path("/var/lib/systemd/linger", _user()).exists()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "$USER"


def _failure(shown: dict[str, str]) -> str:
    """Why the unit does not run, from `Result` and `ExecMainStatus`; `systemd.exec(5)`."""
    result, status = shown.get("Result", ""), _number(shown.get("ExecMainStatus"))
    waits = shown.get("SubState") == "auto-restart"
    if result in ("", "success") and not waits:
        return ""
    exited = f"exit code {status}: {_SYSTEMD_EXITS.get(status) or exit_meaning(status)}"
    reason = _RESULTS.get(result, "")
    if result == "signal":
        reason = f"it was killed by signal {status}"
    elif not reason or (result in ("start-limit-hit", "protocol") and status):
        reason = f"{reason}; {exited}" if reason else exited
    return f"{reason}; it will be started again" if waits else reason


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
