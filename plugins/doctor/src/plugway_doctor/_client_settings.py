"""What is checked of Claude Code's settings: where it sends requests, with which token, and whether
auto mode gets its verdicts."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import yaml

from plugway import LocalGateway, as_list, as_object
from plugway_claude_client import claude_folder, managed_folder, plugway_command
from plugway_doctor._checks import Check

_TOKENS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
_SECONDS = 5.0
_OFF = frozenset(("0", "false", "no", "off"))


def base_url(gateway: LocalGateway, folder: Path) -> Check:
    """Which file or variable decides where Claude Code sends its requests, seen from `folder`."""
    name = "base url"
    for place, value in _set_in(folder, "ANTHROPIC_BASE_URL"):
        if _is_here(value, gateway):
            return Check(name, "passed", f"{place} points Claude Code here")
        fix = f"set it to {gateway.url}, or take it out and run `plugway claude`"
        reason = f"{place} points Claude Code to {value}"
        mend = _set_up if Path(place) == claude_folder() / "settings.json" else None
        return Check(name, "warned", reason, fix, mend)
    reason = "nothing points Claude Code here yet"
    return Check(name, "passed", f"{reason}: `plugway claude` or `plugway setup claude-code` does")


def credential(gateway: LocalGateway, folder: Path, *, runs: bool) -> Check:
    """Whether the token that Claude Code would send is one that this gateway takes."""
    name = "credential"
    urls = _set_in(folder, "ANTHROPIC_BASE_URL")
    if not urls or not _is_here(urls[0][1], gateway):
        return Check(name, "passed", "nothing sends Claude Code here with a token of its own")
    fix = "run `plugway setup claude-code`, or `plugway claude`, which need no token to be typed"
    for variable in _TOKENS:
        for place, value in _set_in(folder, variable)[:1]:
            where = f"{variable} in {place}" if place.startswith(("/", "~")) else place
            if value == gateway.token or (runs and _is_taken(gateway, value)):
                return Check(name, "passed", f"{where} is taken by the gateway")
            reason = f"{where} is not a token of this gateway: it would answer 401"
            return Check(name, "failed", reason, fix)
    reason = f"{urls[0][0]} points Claude Code here, and nothing gives it a token"
    return Check(name, "failed", reason, fix)


def auto_mode(gateway: LocalGateway, folder: Path) -> Check:
    """Whether Claude Code's auto mode gets verdicts from backends that are not Anthropic's."""
    name = "auto mode"
    for place, value in _set_in(folder, "CLAUDE_CODE_AUTO_MODE_SERVER")[:1]:
        if value.strip().lower() in _OFF:
            reason = (
                f"{place} has Claude Code check tool calls by itself: it sends them to "
                "claude-sonnet-5, which goes where the conversation goes"
            )
            fix = "take CLAUDE_CODE_AUTO_MODE_SERVER out: then the gateway answers without a model"
            return Check(name, "warned", reason, fix)
    if gateway.configured and "auto-mode" not in _listed(gateway.config_path):
        reason = "`auto-mode` is not listed: it works with Anthropic's own models alone"
        fix = f"add `- use: auto-mode` to {gateway.config_path}, first under `plugins`"
        return Check(name, "warned", reason, fix)
    return Check(name, "passed", "the gateway answers it for every backend")


def _listed(config: Path) -> set[Any]:
    """The plugins that a configuration uses; empty where it cannot be read."""
    try:
        document = as_object(yaml.safe_load(config.read_text("utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        return set()
    return {as_object(entry).get("use") for entry in as_list(document.get("plugins"))}


def _is_here(url: str, gateway: LocalGateway) -> bool:
    return url.rstrip("/").removesuffix("/v1") == gateway.url


def _is_taken(gateway: LocalGateway, token: str) -> bool:
    """Whether the running gateway takes a token: limited ones are not the user's own."""
    request = urllib.request.Request(  # the gateway's own address
        f"{gateway.url}/v1/models", headers={"authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


def _set_in(folder: Path, variable: str) -> list[tuple[str, str]]:
    """Where a variable is set for Claude Code, what wins first.

    Managed settings win over the command line, over `.claude/settings.local.json`, over
    `.claude/settings.json`, over the user's settings (code.claude.com/docs/en/settings, "Settings
    precedence"); `env` in any of them wins over the shell's variable.
    """
    managed = managed_folder()
    files = [
        *sorted((managed / "managed-settings.d").glob("*.json"), reverse=True),
        managed / "managed-settings.json",
        folder / ".claude/settings.local.json",
        folder / ".claude/settings.json",
        claude_folder() / "settings.json",
    ]
    found = [(str(file), value) for file in files if (value := _value_in(file, variable))]
    shell = os.environ.get(variable, "")
    return [*found, *([(f"the variable {variable}", shell)] if shell else [])]


def _value_in(file: Path, variable: str) -> str:
    try:
        document = as_object(orjson.loads(file.read_bytes()))
    except (OSError, orjson.JSONDecodeError):
        return ""
    value = as_object(document.get("env")).get(variable)
    return value if isinstance(value, str) else ""


def _set_up() -> None:
    """Has the user's settings point here, so that it can be undone."""
    words = [plugway_command(), "setup", "claude-code"]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
