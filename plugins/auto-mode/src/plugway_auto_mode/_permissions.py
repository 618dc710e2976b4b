"""The user's own permission rules in Claude Code's format: `Bash(git push *)`, `Read(~/docs/**)`.

The format is that of Anthropic's page on permissions (code.claude.com, "Configure permissions").
Rules that forbid are interpreted broadly, rules that allow strictly: an unknown form allows
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from plugway_auto_mode._context import Rule, absolute
from plugway_auto_mode._files import (
    EDITORS,
    FILE_TOOLS,
    READERS,
    Speaks,
    allowed_by,
    forbidden_by,
    named_files,
)
from plugway_auto_mode._finding import Place

MOST_COMPARED: Final = 20_000
"""Maximum words of a command times rules; more take longer than a verdict may take."""
SHELLS: Final = frozenset(("Bash", "PowerShell"))
_RULE: Final = re.compile(r"([^()\s]+)(?:\((.*)\))?", re.DOTALL)


def forbids(
    rules: Sequence[Rule],
    name: str,
    given: Mapping[str, Any],
    commands: Sequence[str],
    place: Place,
) -> tuple[Rule | None, Speaks]:
    """The first rule that applies to this call, or to one of its commands.

    With `maybe`, no rule certainly applies, and this one may apply.
    """
    unsure: Rule | None = None
    for rule in rules:
        speaks = _speaks(rule, name, given, commands, place)
        if speaks == "yes":
            return rule, "yes"
        unsure = unsure or (rule if speaks == "maybe" else None)
    return unsure, "no" if unsure is None else "maybe"


def mentions(rules: Sequence[Rule], words: Collection[str], place: Place) -> Rule | None:
    """A rule about reading certain files that may apply to one of the words of a command."""
    paths = tuple(path for word in words if (path := absolute(word, place)) is not None)
    for rule in rules if paths else ():
        tool, what = _parts(rule) or ("", None)
        many = len(paths) * len(rules) > MOST_COMPARED
        if tool != "Read" or what is None:
            continue
        if many or forbidden_by(rule, what, paths, place) != "no":
            return rule
    return None


def allows(
    rules: Sequence[Rule],
    name: str,
    given: Mapping[str, Any],
    commands: Sequence[str],
    place: Place,
) -> Rule | None:
    """A rule that allows this call; for a shell, the last of the rules that allow its commands.

    `commands` are all simple commands of a shell call; empty if the call was not understood.
    """
    if name not in SHELLS:
        return next((rule for rule in rules if _allows_tool(rule, name, given, place)), None)
    found: Rule | None = None
    for command in commands:
        found = next((r for r in rules if _allows_command(r, name, command)), None)
        if found is None:
            return None
    return found


def _speaks(
    rule: Rule, name: str, given: Mapping[str, Any], commands: Sequence[str], place: Place
) -> Speaks:
    tool, what = _parts(rule) or ("", None)
    if name in SHELLS:
        whole = str(given.get("command", ""))
        fits = what is None or any(_fits(what, one) for one in (whole, *commands))
        return "yes" if tool == name and fits else "no"
    if what is not None and _is_about(tool, name) and name in FILE_TOOLS:
        return forbidden_by(rule, what, named_files(name, given, place), place)
    return "yes" if _speaks_of(tool, what, name, given) else "no"


def _allows_tool(rule: Rule, name: str, given: Mapping[str, Any], place: Place) -> bool:
    tool, what = _parts(rule) or ("", None)
    if what is not None and _is_about(tool, name) and name in FILE_TOOLS:
        return allowed_by(rule, what, named_files(name, given, place), place)
    return _speaks_of(tool, what, name, given)


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
    """`npm test:*` and `npm test *` match the words and any that follow; `*` matches anything."""
    text = " ".join(pattern.split())
    text = text.removesuffix(":*") + " *" if text.endswith(":*") else text
    tail = ""
    if text.endswith(" *"):
        text, tail = text[:-2], r"(?: .*)?"
    first, *rest = (re.escape(piece) for piece in re.split(r"\*+", text))
    # Atomic groups, so that a long command is scanned once per `*` and not once per position.
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    last = f".*?{rest[-1]}" if rest else ""
    return re.compile(first + middle + last + tail, re.DOTALL)


def _is_about(tool: str, name: str) -> bool:
    """Whether rules about `tool` also apply to the tool `name`."""
    return (
        tool == name or (tool == "Edit" and name in EDITORS) or (tool == "Read" and name in READERS)
    )


def _speaks_of(tool: str, what: str | None, name: str, given: Mapping[str, Any]) -> bool:
    if _is_about(tool, name):
        if name == "WebFetch" and what is not None:
            return _domain_fits(what, str(given.get("url", "")))
        agent = name in ("Agent", "Task") and what == given.get("subagent_type")
        return what is None or agent
    if tool.startswith("mcp__") and what is None:
        return name.startswith(tool.removesuffix("*").removesuffix("__") + "__")
    return False


def _domain_fits(what: str, url: str) -> bool:
    kind, _, domain = what.partition(":")
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    domain = domain.strip().lower()
    wild = domain.startswith("*.") and host.endswith(domain[1:])
    return kind == "domain" and bool(domain) and (host == domain or wild)
