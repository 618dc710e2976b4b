"""Checks that send no request to a model: configuration, gateway, secret files, Claude Code."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import platformdirs

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_claude_client import (
    ClientMissing,
    ClientUnfit,
    find_client,
    plugway_command,
)
from plugway_local_models.sizing import CLAUDE_CODE_FLOOR
from plugway_probe import ListedModel

Outcome = Literal["passed", "warned", "failed", "skipped"]

_SECONDS = 60.0
_LEAST_FREE = 64 * 1024
"""Minimum free bytes in the state folder."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    outcome: Outcome
    reason: str
    """What was found."""
    fix: str = ""
    """How to fix it; empty if it passed."""
    apply_fix: Callable[[], None] | None = field(default=None, repr=False)
    """Applies the fix (`--fix`); None if it cannot be automated."""

    @property
    def is_failed(self) -> bool:
        """Whether it failed."""
        return self.outcome == "failed"

    def as_json(self) -> Mapping[str, str | bool]:
        """The check as JSON-ready data."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "reason": self.reason,
            "fix": self.fix,
            "fixable": self.apply_fix is not None,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What is listening at the gateway's address."""

    check: Check
    state: Mapping[str, Any] | None = None
    """The status that the gateway reports; None if it is not running."""
    usable: bool = True
    """Whether models can be tried: at this gateway, or at a temporary one."""


def configuration(config: Path | None) -> list[Check]:
    """Whether the configuration and its plugins load, as `plugway check` reports; one check per
    problem."""
    name = "configuration"
    words = [plugway_command(), "check", "--json", *(["--config", str(config)] if config else [])]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"loading timed out after {_SECONDS:g} s"
        fix = "run `plugway check`; it may be waiting for a locked keyring"
        return [Check(name, "failed", reason, fix)]
    try:
        report = as_object(orjson.loads(done.stdout))
    except orjson.JSONDecodeError:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        reason = f"`plugway check` failed without a report: {said}"
        return [Check(name, "failed", reason, "run `plugway check`")]
    checks = [_problem(as_object(item)) for item in as_list(report.get("problems"))]
    if warnings := "\n".join(map(str, as_list(report.get("warnings")))):
        checks.append(Check(name, "warned", warnings, "fix the problem named above"))
    return checks or [Check(name, "passed", "the configuration is valid")]


def _problem(item: Mapping[str, Any]) -> Check:
    parts = (str(item.get(key, "")) for key in ("where", "path", "reason"))
    reason = ": ".join(part for part in parts if part)
    fix = str(item.get("fix") or "fix the problem named above")
    return Check("configuration", "failed", reason, fix)


def running(gateway: LocalGateway, place: str, *, starts: bool) -> Found:
    """What is listening at the gateway's address, and the status that it reports.

    `place` names the setting that points Claude Code there, if any; `starts` means that a hook of
    Claude Code starts the gateway.
    """
    name = "gateway"
    try:
        state = gateway.state()
    except PlugwayError as error:
        fix = f"stop the other program, or set `server.port` in {gateway.config_path}"
        return Found(Check(name, "failed", str(error), fix), usable=False)
    if state is None:
        outcome: Outcome = "failed" if place and not starts else "warned"
        reason = f"nothing listens at {gateway.url}"
        reason += f", where {place} points Claude Code" if place else ""
        return Found(Check(name, outcome, reason, "run `plugway serve`"))
    off = [str(plugin) for plugin in state.get("quarantined", ())]
    if off:
        fix = (
            "see the gateway's log; remove the plugin from the configuration or restart the gateway"
        )
        reason = f"disabled after failures: {', '.join(off)}"
        return Found(Check(name, "failed", reason, fix), state)
    used = Path(str(state.get("config") or gateway.config_path))
    if gateway.configured and used.is_absolute() and used != gateway.config_path.absolute():
        reason = f"the gateway at {gateway.url} uses {used} instead of {gateway.config_path}"
        fix = "stop it and run `plugway serve`, or pass its configuration with `--config`"
        return Found(Check(name, "warned", reason, fix), state)
    return Found(Check(name, "passed", f"runs at {gateway.url} (pid {state.get('pid')})"), state)


def state_folder() -> Check:
    """Whether the gateway can write its state: its token, and what it measures."""
    name = "state folder"
    path = platformdirs.user_state_path("plugway", appauthor=False)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(_LEAST_FREE))
            file.flush()
    except OSError as error:
        reason = f"cannot write to {path}: {error.strerror}"
        fix = "check its disk space and permissions, or set XDG_STATE_HOME to another folder"
        return Check(name, "failed", reason, fix)
    return Check(name, "passed", f"{path} is writable")


def token_file() -> Check:
    """Whether only this user can read the gateway's token."""
    path = platformdirs.user_state_path("plugway", appauthor=False) / "token"
    if os.name == "nt" or not path.is_file() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check("token", "passed", "only you can read the gateway's token")
    reason = f"other users of this machine can read {path}"
    return Check(
        "token", "failed", reason, f"run `rm {path}`; the gateway creates a new one", path.unlink
    )


def client_version() -> Check:
    """Whether Claude Code is installed, and its version."""
    try:
        client = find_client()
    except ClientUnfit as error:
        outcome = "warned" if isinstance(error, ClientMissing) else "failed"
        return Check("claude code", outcome, error.reason, error.fix)
    return Check("claude code", "passed", f"version {client.version} at {client.path}")


def windows(models: Sequence[ListedModel]) -> list[Check]:
    """Whether each model's window is known and large enough for an agent."""
    checks: list[Check] = []
    for model in models:
        name = f"window of {model.id}"
        if not model.window:
            fix = "set it in `windows` of `context-guard`, so that Claude Code compacts in time"
            checks.append(Check(name, "warned", "unknown", fix))
        elif model.window < CLAUDE_CODE_FLOOR:
            fix = (
                f"load it with a window of {CLAUDE_CODE_FLOOR:,} tokens or more, or use another "
                "model; `plugway models recommend` shows which ones fit this machine. A window "
                "learned from a rejected prompt is forgotten after an hour, or when the gateway "
                "restarts"
            )
            reason = f"{model.window:,} tokens are not enough for Claude Code"
            checks.append(Check(name, "warned", reason, fix))
        else:
            checks.append(Check(name, "passed", f"{model.window:,} tokens"))
    return checks
