"""Decides which files a setup writes in each scope, and their contents."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_claude_client import claude_folder, claude_state_file, managed_folder
from plugway_claude_code._edits import Edit
from plugway_claude_code._json_file import NotEditable
from plugway_claude_code._models import Choice, smallest_window
from plugway_claude_code._picker import picker
from plugway_claude_code._receipt import Planned, Receipt
from plugway_claude_code._settings import (
    environment,
    mcp_entry,
    session_start_entry,
    status_line_entry,
    trust,
)
from plugway_claude_code._windows import profile
from plugway_probe import ListedModel

Scope = Literal["user", "project", "managed"]
_OTHER_WAYS = (
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
)
"""Cleared if present: they would bypass the gateway."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The gateway's properties that a setup needs."""

    gateway: LocalGateway
    chosen: Mapping[str, Choice]
    models: Sequence[ListedModel]
    command: str
    """The `plugway` command for hooks."""
    where: Sequence[str] = ()
    """Options that select the gateway, if not the default one."""
    scaled: bool = False
    tool_search: bool = False
    mcp: bool = False


@dataclass(slots=True)
class SetUp:
    """The files to write, and notes about those that cannot be edited."""

    files: list[Planned] = field(default_factory=list[Planned])
    notes: list[str] = field(default_factory=list[str])


def receipt_name(scope: Scope) -> str:
    """The name of the receipt for a scope."""
    if scope != "project":
        return f"claude-code-{scope}"
    digest = hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:12]
    return f"claude-code-project-{digest}"


def settings_path(scope: Scope) -> Path:
    """The settings file of a scope."""
    if scope == "user":
        return claude_folder() / "settings.json"
    if scope == "project":
        return Path.cwd() / ".claude" / "settings.local.json"
    return managed_folder() / "managed-settings.d" / "50-plugway.json"


def plan(scope: Scope, facts: Facts, receipt: Receipt) -> SetUp:
    """Plan all files. Raises `NotEditable` if the settings cannot be edited; for other files that
    cannot, adds a note with what to add by hand."""
    made = SetUp()
    if scope == "managed":
        _check_managed()
    path = settings_path(scope)
    try:
        made.files.append(receipt.plan(path, settings_edits(facts, path)))
    except NotEditable as error:
        hint = "`plugway claude` needs no change of any file"
        raise NotEditable(f"{error}\nNothing was written; {hint}.") from None
    if scope == "managed":
        return made
    if facts.mcp:
        _try(made, receipt, claude_state_file(), _mcp_edits(scope, facts))
    if scope == "user":
        _try(made, receipt, claude_folder() / "cache" / "gateway-models.json", _cache_edits(facts))
        for editor in _editors():
            _try(made, receipt, editor, _editor_edits(editor, facts))
    return made


def settings_edits(facts: Facts, path: Path) -> list[Edit]:
    """The edits of the settings; existing choices of the user are kept."""
    sizes = profile(smallest_window(facts.chosen), scaled=facts.scaled)
    gateway, main, before = facts.gateway, facts.chosen["sonnet"], _peek(path)
    rows = picker(facts.chosen, facts.models, before.get("model"))
    env = environment(gateway.url, gateway.token, main, rows, sizes, tool_search=facts.tool_search)
    env |= trust(gateway)
    there = as_object(before.get("env"))
    env |= {name: "" for name in _OTHER_WAYS if there.get(name)}
    edits = [Edit(("env", name), value) for name, value in env.items()]
    edits += [
        Edit(("model",), main.id, "default"),
        Edit(("skipWebFetchPreflight",), True, "default"),
        Edit(("statusLine",), status_line_entry([facts.command], facts.where), "default"),
        Edit(
            ("hooks", "SessionStart"), session_start_entry([facts.command], facts.where), "append"
        ),
    ]
    edits += [Edit(("availableModels",), model, "append") for model in rows.available]
    edits += [Edit(("permissions", "deny"), tool, "append") for tool in sizes.deny]
    return edits


def _mcp_edits(scope: Scope, facts: Facts) -> list[Edit]:
    entry = mcp_entry(facts.gateway.url, facts.gateway.token)
    place = ("projects", str(Path.cwd())) if scope == "project" else ()
    return [Edit((*place, "mcpServers", "plugway"), entry)]


def _cache_edits(facts: Facts) -> list[Edit]:
    """Clear the client's cache of discovered models; its format was observed with 2.1.197."""
    rows = [{"id": m.id, "display_name": m.display_name or m.id} for m in facts.models]
    return [
        Edit(("baseUrl",), facts.gateway.url),
        Edit(("fetchedAt",), int(time.time() * 1000)),
        Edit(("models",), rows),
    ]


def _editors() -> list[Path]:
    """User settings of installed VS Code variants."""
    home = Path.home()
    if sys.platform == "darwin":
        root = home / "Library/Application Support"
    elif sys.platform == "win32":
        root = Path(os.environ.get("APPDATA", home))
    else:
        root = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    folders = [root / name / "User" for name in ("Code", "Code - Insiders")]
    return [folder / "settings.json" for folder in folders if folder.is_dir()]


def _editor_edits(path: Path, facts: Facts) -> list[Edit]:
    """VS Code does not pass the shell's variables on, and asks for an unnecessary login."""
    wanted = {
        "ANTHROPIC_BASE_URL": facts.gateway.url,
        "ANTHROPIC_AUTH_TOKEN": facts.gateway.token,
        **trust(facts.gateway),
    }
    there = map(as_object, as_list(_peek(path).get("claudeCode.environmentVariables")))
    others = [item for item in there if item.get("name") not in wanted]
    rows = [*others, *({"name": name, "value": value} for name, value in wanted.items())]
    return [
        Edit(("claudeCode.environmentVariables",), rows),
        Edit(("claudeCode.disableLoginPrompt",), True),
    ]


def _try(made: SetUp, receipt: Receipt, path: Path, edits: Sequence[Edit]) -> None:
    try:
        made.files.append(receipt.plan(path, edits))
    except NotEditable as error:
        values = {".".join(edit.path): edit.value for edit in edits}
        snippet = json.dumps(values, indent=2, ensure_ascii=False)
        made.notes.append(f"not written: {error}\nadd by hand:\n{snippet}")


def _peek(path: Path) -> dict[str, Any]:
    """Read a file leniently; for decisions that do not edit it."""
    try:
        return as_object(json.loads(path.read_text("utf-8-sig")))
    except (OSError, ValueError):
        return {}


def _check_managed() -> None:
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        raise PlugwayError("managed settings belong to the administrator: run it with sudo")
    root = managed_folder()
    for path in [root / "managed-settings.json", *root.glob("managed-settings.d/*.json")]:
        if found := {"forceLoginMethod", "forceLoginOrgUUID"} & set(_peek(path)):
            raise PlugwayError(
                f"{path} forces a login ({', '.join(sorted(found))}): ask this machine's "
                "administrator; Plugway does not work around it"
            )
