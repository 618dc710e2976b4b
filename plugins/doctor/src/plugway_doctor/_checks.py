"""What is checked without asking a model: configuration, gateway, secrets' files, Claude Code."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import platformdirs

from plugway import LocalGateway, PlugwayError
from plugway_claude_client import (
    ClientMissing,
    ClientUnfit,
    find_client,
    plugway_command,
)
from plugway_probe import ListedModel

Outcome = Literal["passed", "warned", "failed", "skipped"]

FLOOR_TOKENS = 32_000
"""Below this window Claude Code's own prompt leaves no room to work (about 20,000 tokens are its
system prompt and tools, measured with 2.1.329: `docs/configuration.md`)."""
_SECONDS = 60.0
_WARNING = "plugway: warning: "


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    outcome: Outcome
    reason: str
    """What was seen."""
    fix: str = ""
    """What to do, where it is not in order."""
    mend: Callable[[], None] | None = field(default=None, repr=False)
    """Does it, where a program can (`--fix`)."""

    def as_json(self) -> Mapping[str, str | bool]:
        """For a script."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "reason": self.reason,
            "fix": self.fix,
            "fixable": self.mend is not None,
        }


def configuration(config: Path | None) -> Check:
    """Whether the configuration and its plugins load, as `plugway check` says."""
    words = [plugway_command(), "check", *(["--config", str(config)] if config else [])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    warnings = [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]
    said = "\n".join(line for line in lines if not line.startswith(_WARNING))
    said = said.removeprefix("plugway: ")
    if done.returncode:
        return Check("configuration", "failed", said or "it does not load", "mend what is named")
    if warnings:
        return Check("configuration", "warned", "\n".join(warnings), "see to what is named")
    return Check("configuration", "passed", said or "it loads")


def running(gateway: LocalGateway) -> tuple[Check, Mapping[str, Any] | None]:
    """What listens at the gateway's address, and what it says of itself."""
    try:
        state = gateway.state()
    except PlugwayError as error:
        fix = f"end the other program, or set `server.port` in {gateway.config_path}"
        return Check("gateway", "failed", str(error), fix), None
    if state is None:
        reason = f"nothing listens at {gateway.url}"
        return Check("gateway", "warned", reason, "run `plugway serve`"), None
    off = [str(name) for name in state.get("quarantined", ())]
    if off:
        fix = "the log says why; take the plugin out of the configuration, or restart the gateway"
        return Check(
            "gateway", "failed", f"switched off after failures: {', '.join(off)}", fix
        ), state
    return Check("gateway", "passed", f"runs at {gateway.url} (pid {state.get('pid')})"), state


def token_file() -> Check:
    """Whether the gateway's own token can be read by this user alone."""
    path = platformdirs.user_state_path("plugway", appauthor=False) / "token"
    if os.name == "nt" or not path.is_file() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check("token", "passed", "nobody else can read the gateway's token")
    reason = f"others on this machine can read {path}, or could"
    return Check("token", "failed", reason, f"rm {path}; a new one is made", path.unlink)


def client_version() -> Check:
    """Whether Claude Code is there, and which."""
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
            fix = "give it under `windows` of `context-guard`, so that Claude Code compacts in time"
            checks.append(Check(name, "warned", "it is not known", fix))
        elif model.window < FLOOR_TOKENS:
            fix = (
                f"load it with a window of {FLOOR_TOKENS:,} tokens or more, or take another model; "
                "a window that its server told by a refusal is forgotten after an hour, or when "
                "the gateway is restarted"
            )
            reason = f"{model.window:,} tokens are too few for Claude Code"
            checks.append(Check(name, "warned", reason, fix))
        else:
            checks.append(Check(name, "passed", f"{model.window:,} tokens"))
    return checks
