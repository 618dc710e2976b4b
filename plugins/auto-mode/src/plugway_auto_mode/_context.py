"""What the client reports about itself in `safeguards`: where it works, and its user's rules.

The format is that of Claude Code 2.1.332. Every field is optional, and unknown shapes are ignored,
so that a newer client gets fewer verdicts but never a wrong one.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_list, as_object
from plugway_auto_mode._finding import Place

CHECK: Final = "dangerous_tool_use"
"""The check that this plugin answers."""
KNOWN_VERSION: Final = 1
"""The known version of `classifier_context`."""
MAX_RULES: Final = 2_000
"""Maximum entries of each kind; a context with more is ignored."""
MAX_PROSE: Final = 40
MAX_PROSE_CHARACTERS: Final = 2_000
READ_OTHERWISE: Final = re.compile(r"~\w|\$\{?[A-Z_]+\b|%\w+%|\w+://|[A-Za-z]:[\\/]")
_HOME: Final = re.compile(
    r"(?:/(?:home|Users)/[^/]+|/root|/|[A-Za-z]:[/\\]?(?:Users[/\\][^/\\]+)?)[/\\]?"
)
"""Folders that cannot be a working folder, because they contain a home or the whole machine."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A permission rule of the user, as in the client's settings."""

    text: str
    """`Tool` or `Tool(what)`."""
    root: str = ""
    """For rules about paths: the folder that `pattern` is relative to; empty for the working
    folder."""
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The information that a verdict uses, besides the call and the user's words."""

    place: Place = Place()
    deny: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    allow: tuple[Rule, ...] = ()
    prose: tuple[tuple[str, str], ...] = ()
    """The user's rules as sentences, for a judge: (`allow`, `soft_deny`, `hard_deny` or
    `environment`, sentence)."""
    known: bool = False
    """Whether the client sent a context in a known version; without it no call passes."""


def asked(safeguards: Any) -> Context | None:
    """The context of the check for dangerous calls; None if the client does not request it."""
    for item in as_list(safeguards):
        entry = as_object(item)
        if entry.get("type") == CHECK:
            return _context(as_object(entry.get("classifier_context")))
    return None


def _context(context: Mapping[str, Any]) -> Context:
    version = context.get("v")
    if type(version) is not int or version != KNOWN_VERSION:
        return Context()
    rules = as_object(context.get("rules"))
    kinds = {kind: tuple(_rules(rules.get(kind))) for kind in ("deny", "ask", "allow")}
    return Context(
        place=_place(context),
        deny=kinds["deny"],
        ask=kinds["ask"],
        allow=kinds["allow"],
        prose=tuple(_prose(as_object(context.get("auto_mode")))),
        known=isinstance(context.get("rules"), dict)
        and all(_are_rules(rules.get(kind, [])) for kind in kinds),
    )


def _place(context: Mapping[str, Any]) -> Place:
    home = _path(context.get("home_dir"))
    trusted = as_object(context.get("trusted_directories"))
    folders = [
        as_object(trusted.get("primary")),
        *map(as_object, as_list(trusted.get("additional"))),
    ]
    paths = [_path(folder.get("path")) for folder in folders]
    roots = tuple(path for path in paths if path and not _is_home(path, home))
    names = [(_path(f.get("path")), *map(_path, as_list(f.get("resolved")))) for f in folders]
    cwd = _path(context.get("live_cwd"))
    return Place(
        cwd=cwd if any(within(cwd, root) for root in roots) else "",
        home=home,
        platform=str(context.get("platform") or ""),
        roots=roots,
        start=cwd,
        links=tuple(each for each in names if len(set(each)) > 1 and all(each)),
    )


def within(path: str, folder: str) -> bool:
    """Whether a normalized absolute path is `folder` or inside it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_home(folder: str, home: str) -> bool:
    """Whether it is a home, contains the home, or is the root folder."""
    return (bool(home) and within(home, folder)) or _HOME.fullmatch(folder) is not None


def _path(value: object) -> str:
    """A normalized absolute path; empty if `value` is not one."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        return ""
    return posixpath.normpath("/" + value.lstrip("/"))


def _are_rules(value: object) -> bool:
    """Whether all rules are understood: one that is ignored might forbid the call."""
    rules = [as_object(item).get("rule") for item in as_list(value)]
    return (
        isinstance(value, list)
        and len(rules) <= MAX_RULES
        and all(isinstance(r, str) for r in rules)
    )


def absolute(value: object, place: Place) -> str | None:
    """The absolute path by its text alone; None if it is unknown.

    Paths that other programs may read differently are unknown as well: with surrounding blanks or
    invisible characters, starting with `~name`, a variable or a scheme, and Windows paths.
    """
    if not isinstance(value, str) or not value.isprintable() or value != value.strip():
        return None
    if READ_OTHERWISE.match(value) or (place.platform != "linux" and re.search(r"[\\:]", value)):
        return None
    if value.startswith("~"):
        return _path(place.home and place.home + value[1:]) or None
    return _path(value if value.startswith("/") else place.cwd and f"{place.cwd}/{value}") or None


def _rules(value: object) -> Iterator[Rule]:
    for item in as_list(value)[:MAX_RULES]:
        entry = as_object(item)
        text = entry.get("rule")
        if isinstance(text, str):
            root, pattern = entry.get("root"), entry.get("pattern")
            yield Rule(text, str(root or ""), str(pattern or ""))


def _prose(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("hard_deny", "soft_deny", "allow", "environment"):
        for sentence in as_list(value.get(kind))[:MAX_PROSE]:
            if isinstance(sentence, str):
                yield kind, sentence[:MAX_PROSE_CHARACTERS]
