"""Verdicts on calls of tools other than shells: file tools by their paths, the client's own tools.

A tool that is not listed here is undecided, whatever its name suggests.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plugway_auto_mode._context import within
from plugway_auto_mode._files import FILE_TOOLS, READERS, named_files
from plugway_auto_mode._finding import Finding, Place

_QUIET: Final = frozenset(
    (
        "AskUserQuestion",
        "BashOutput",
        "EnterPlanMode",
        "ExitPlanMode",
        "TaskCreate",
        "TaskGet",
        "TaskList",
        "TaskOutput",
        "TaskUpdate",
        "TodoWrite",
        "ToolSearch",
    )
)
"""Tools of the client that only change its own lists, or ask the user."""
_SECRETS: Final = (
    ".aws",
    ".azure",
    ".config/gcloud",
    ".docker/config.json",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pypirc",
    ".ssh",
    "Library/Keychains",
)
"""Relative to a home folder."""
_STEERING: Final = frozenset((".claude", ".git", ".github", ".gitlab-ci.yml", ".husky", ".vscode"))
"""Parts of a project that define what runs automatically."""


def review(name: str, given: Mapping[str, Any], place: Place) -> Finding:
    """The verdict on a call of the tool `name` with these arguments."""
    if name in _QUIET:
        return Finding("harmless", f"`{name}` changes nothing outside the client")
    if name not in FILE_TOOLS:
        return Finding("undecided", "this tool is unknown")
    paths = named_files(name, given, place)
    if paths is None:
        return Finding("undecided", "its path is unknown")
    if any(_is_secret(path, place) for path in paths):
        return Finding("harmful", "it reads or writes credentials")
    inside = all(any(within(path, root) for root in place.roots) for path in paths)
    return _read(paths, inside) if name in READERS else _written(paths[0], inside)


def _read(paths: Sequence[str], inside: bool) -> Finding:
    if not inside:
        return Finding("undecided", "it reads outside the working folder")
    if any(posixpath.basename(path).casefold().startswith(".env") for path in paths):
        return Finding("undecided", "the file may contain secrets")
    return Finding("harmless", "it reads inside the working folder")


def _written(path: str, inside: bool) -> Finding:
    if not inside:
        return Finding("harmful", "it writes outside the working folder")
    parts = path.casefold().split("/")
    if not _STEERING.isdisjoint(parts) or parts[-1].startswith(".env"):
        return Finding("undecided", "the file may define what runs automatically, or hold secrets")
    return Finding("harmless", "it writes inside the working folder, which the client allows")


def _is_secret(path: str, place: Place) -> bool:
    homes = (place.home, "/root") if place.home else ("/root",)
    return path in ("/etc/shadow", "/etc/sudoers") or any(
        within(path.casefold(), posixpath.join(home, secret).casefold())
        for home in homes
        for secret in _SECRETS
    )
