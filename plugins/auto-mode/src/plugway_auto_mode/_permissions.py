"""The user's own permission rules, as Claude Code has them: `Bash(git push *)`, `Read(~/docs/**)`.

The forms are those of Anthropic's page on permissions (code.claude.com, "Configure permissions").
A rule that forbids is read generously, one that allows strictly: what is not understood allows
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import pathspec

from plugway_auto_mode._context import Rule, absolute
from plugway_auto_mode._finding import Place

SHELLS: Final = frozenset(("Bash", "PowerShell"))
_READERS: Final = frozenset(("Glob", "Grep", "LS", "NotebookRead", "Read"))
_EDITORS: Final = frozenset(("Edit", "MultiEdit", "NotebookEdit", "Write"))
_PATH_KEYS: Final = ("file_path", "notebook_path", "path")
_RULE: Final = re.compile(r"([^()\s]+)(?:\((.*)\))?", re.DOTALL)


def rule_about(
    rules: Sequence[Rule],
    name: str,
    given: Mapping[str, Any],
    commands: Sequence[str],
    place: Place,
) -> Rule | None:
    """The first rule that speaks of this call, or of any one of the commands in it."""
    for rule in rules:
        parts = _parts(rule)
        if parts is None:
            continue
        tool, what = parts
        if tool in SHELLS and name == tool:
            whole = str(given.get("command", ""))
            if what is None or any(_fits(what, one) for one in (whole, *commands)):
                return rule
        elif _speaks_of(tool, what, rule, name, given, place):
            return rule
    return None


def allows(
    rules: Sequence[Rule],
    name: str,
    given: Mapping[str, Any],
    commands: Sequence[str],
    place: Place,
) -> Rule | None:
    """A rule that allows this call; for a shell, the last of those that allow every command in it.

    `commands` are all simple commands of a shell call; none of them: the call was not understood.
    """
    if name not in SHELLS:
        return rule_about(rules, name, given, (), place)
    found: Rule | None = None
    for command in commands:
        found = next((r for r in rules if _allows_command(r, name, command)), None)
        if found is None:
            return None
    return found


def _allows_command(rule: Rule, shell: str, command: str) -> bool:
    parts = _parts(rule)
    return (
        parts is not None and parts[0] == shell and (parts[1] is None or _fits(parts[1], command))
    )


def _parts(rule: Rule) -> tuple[str, str | None] | None:
    found = _RULE.fullmatch(rule.text.strip())
    if found is None:
        return None
    what = found[2]
    return found[1], None if what in (None, "", "*") else what


def _fits(pattern: str, command: str) -> bool:
    return _compiled(pattern).fullmatch(" ".join(command.split())) is not None


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """`npm test:*` and `npm test *` fit the words and whatever follows them; `*` anything."""
    text = " ".join(pattern.split())
    text = text.removesuffix(":*") + " *" if text.endswith(":*") else text
    tail = ""
    if text.endswith(" *"):
        text, tail = text[:-2], r"(?: .*)?"
    first, *rest = (re.escape(piece) for piece in re.split(r"\*+", text))
    # Atomic, so that a long command is read once for each `*` and not once for all of their places.
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    last = f".*?{rest[-1]}" if rest else ""
    return re.compile(first + middle + last + tail, re.DOTALL)


def _speaks_of(
    tool: str, what: str | None, rule: Rule, name: str, given: Mapping[str, Any], place: Place
) -> bool:
    if (
        tool == name
        or (tool == "Edit" and name in _EDITORS)
        or (tool == "Read" and name in _READERS)
    ):
        if what is None:
            return True
        if name in _EDITORS | _READERS:
            return _path_fits(what, rule, given, place)
        if name == "WebFetch":
            return _domain_fits(what, str(given.get("url", "")))
        return name in ("Agent", "Task") and what == given.get("subagent_type")
    if tool.startswith("mcp__") and what is None:
        return name.startswith(tool.removesuffix("*").removesuffix("__") + "__")
    return False


def _path_fits(what: str, rule: Rule, given: Mapping[str, Any], place: Place) -> bool:
    value = next((given[key] for key in _PATH_KEYS if isinstance(given.get(key), str)), place.cwd)
    path = absolute(value, place)
    if path is None:
        return False
    root, pattern = rule.root or place.cwd, rule.pattern or what
    if pattern.startswith("//"):
        root, pattern = "/", pattern[1:]
    elif pattern.startswith("~/"):
        root, pattern = place.home, pattern[1:]
    pattern = pattern.removeprefix("./")
    if not root or not path.startswith(root.rstrip("/") + "/"):
        return False
    return _spec(pattern).match_file(path[len(root.rstrip("/")) + 1 :])


@lru_cache(maxsize=1_024)
def _spec(pattern: str) -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines([pattern])


def _domain_fits(what: str, url: str) -> bool:
    kind, _, domain = what.partition(":")
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    domain = domain.strip().lower()
    wild = domain.startswith("*.") and host.endswith(domain[1:])
    return kind == "domain" and bool(domain) and (host == domain or wild)
