"""Requests and answers as Claude Code 2.1.332 in auto mode has them."""

from __future__ import annotations

import copy
from typing import Any

CWD = "/home/dana/shop"
CONTEXT: dict[str, Any] = {
    "v": 1,
    "permission_mode": "auto",
    "platform": "linux",
    "live_cwd": CWD,
    "home_dir": "/home/dana",
    "rule_roots": {"userSettings": "/home/dana/.claude", "projectSettings": CWD},
    "trusted_directories": {"primary": {"path": CWD, "resolved": [CWD]}, "additional": []},
    "rules": {"allow": [], "deny": [], "ask": []},
    "auto_mode": {"allow": [], "soft_deny": [], "hard_deny": [], "environment": []},
    "git_state": {"cwd": CWD, "root": CWD},
    "refused_calls": [],
}
NAMES = "Agent Bash Edit Glob Grep NotebookEdit Read TodoWrite WebSearch Write mcp__notes__add"
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in NAMES.split(" ")]
PRINT_MODE = {"user-agent": "claude-cli/2.1.332 (external, sdk-cli)"}
INTERACTIVE = {"user-agent": "claude-cli/2.1.332 (external, cli)"}


def safeguards(**changes: Any) -> list[dict[str, Any]]:
    """The field, with members of the context changed; `rules` are texts."""
    context = copy.deepcopy(CONTEXT) | changes
    if "rules" in changes and isinstance(changes["rules"], dict):
        context["rules"] = {kind: _written(given) for kind, given in changes["rules"].items()}
    return [{"type": "dangerous_tool_use", "classifier_context": context}]


def _written(given: Any) -> Any:
    if not isinstance(given, list):
        return given
    return [{"rule": one, "source": "user"} if isinstance(one, str) else one for one in given]


def bash(command: Any, id_: str = "toolu_1", **more: Any) -> dict[str, Any]:
    """A call of the shell."""
    return {"type": "tool_use", "id": id_, "name": "Bash", "input": {"command": command, **more}}


def call(name: str, id_: str = "toolu_1", /, **given: Any) -> dict[str, Any]:
    """A call of another tool."""
    return {"type": "tool_use", "id": id_, "name": name, "input": given}
