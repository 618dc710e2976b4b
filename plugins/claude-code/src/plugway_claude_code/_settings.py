"""Builds the settings for Claude Code: pure values, for a launch or for its settings file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plugway import LocalGateway
from plugway_claude_code._models import Choice, takes_window
from plugway_claude_code._picker import Picker
from plugway_claude_code._windows import Profile, profile

_OTHER_PROVIDERS = ("BEDROCK", "VERTEX", "FOUNDRY", "MANTLE", "ANTHROPIC_AWS")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_PATIENCE = {
    "API_TIMEOUT_MS": "3600000",
    "API_FORCE_IDLE_TIMEOUT": "0",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "1800000",
}
"""Reading a long prompt may take a local model minutes."""


def environment(
    url: str,
    token: str,
    main: Choice,
    rows: Picker,
    window: Profile,
    *,
    tool_search: bool,
) -> dict[str, str]:
    """The `env` of the settings: the gateway's URL, and the models behind the client's names."""
    env = {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": token,
        **rows.env,
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        "CLAUDE_CODE_DISABLE_1M_CONTEXT": "1",
        "CLAUDE_CODE_SKIP_FAST_MODE_ORG_CHECK": "1",
        **_PATIENCE,
    }
    if not takes_window(main.id):
        env.pop("CLAUDE_CODE_DISABLE_1M_CONTEXT")
    else:
        env["CLAUDE_CODE_ATTRIBUTION_HEADER"] = "0"
    if tool_search:
        env["ENABLE_TOOL_SEARCH"] = "true"
    return env | dict(window.env)


def trust(gateway: LocalGateway) -> dict[str, str]:
    """Makes the client trust a gateway's own certificate, unless the user has set another file."""
    name = "NODE_EXTRA_CA_CERTS"
    return {name: gateway.ca_file} if gateway.ca_file and name not in os.environ else {}


def launch_settings(
    url: str,
    token: str,
    main: Choice,
    rows: Picker,
    *,
    scaled: bool,
    tool_search: bool,
    status_line: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The value of `--settings`, which overrides the user's files."""
    sizes = profile(main.window, scaled=scaled)
    off = {f"CLAUDE_CODE_USE_{name}": "" for name in _OTHER_PROVIDERS}
    env = environment(url, token, main, rows, sizes, tool_search=tool_search)
    # A model in the environment would override `model`.
    models = {"ANTHROPIC_MODEL": main.id, "ANTHROPIC_SMALL_FAST_MODEL": ""}
    settings: dict[str, Any] = {
        "env": {**off, "ANTHROPIC_API_KEY": "", **models, **env, **no_proxy(os.environ)},
        "model": main.id,
        "availableModels": list(rows.available),
        "skipWebFetchPreflight": True,
    }
    if sizes.deny:
        settings["permissions"] = {"deny": list(sizes.deny)}
    if status_line:
        settings["statusLine"] = dict(status_line)
    return settings


def status_line_entry(command: Sequence[str], where: Sequence[str]) -> dict[str, Any]:
    """The status line: our command, every ten seconds. `where` selects the gateway."""
    words = shlex.join([*command, "statusline", *where])
    return {"type": "command", "command": words, "refreshInterval": 10}


def session_start_entry(command: Sequence[str], where: Sequence[str]) -> dict[str, Any]:
    """The hook that starts the gateway before a session's first request."""
    words = shlex.join([*command, "up", "--quiet", *where])
    return {"hooks": [{"type": "command", "command": words, "timeout": 60}]}


def gateway_words(config: Path | None, port: int | None) -> tuple[str, ...]:
    """The options with which a later command finds the same gateway, if not the default one."""
    chosen = ("--config", str(config.expanduser().absolute())) if config else ()
    return (*chosen, "--port", str(port)) if port is not None else chosen


def mcp_entry(url: str, token: str) -> dict[str, Any]:
    """The entry for the gateway's MCP server."""
    headers = {"Authorization": f"Bearer {token}"}
    return {"type": "http", "url": f"{url}/mcp", "headers": headers, "timeout": 600000}


def no_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Excludes this machine from a configured proxy."""
    lower = {name.lower(): value for name, value in environ.items()}
    if not any(lower.get(name) for name in _PROXIES):
        return {}
    kept = [part for part in lower.get("no_proxy", "").split(",") if part]
    return {"NO_PROXY": ",".join(dict.fromkeys([*kept, "127.0.0.1", "localhost", "::1"]))}
