"""What is known of calls of tools that are no shells: files by their paths, the client's own tools.

A tool that is not listed here is undecided, whatever its name promises.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Final

from plugway_auto_mode._context import absolute, within
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
"""Tools of the client that touch nothing but its own lists, or ask the user."""
_READ: Final[Mapping[str, str]] = {
    "Glob": "path",
    "Grep": "path",
    "LS": "path",
    "Read": "file_path",
}
_WRITE: Final[Mapping[str, str]] = {
    "Edit": "file_path",
    "MultiEdit": "file_path",
    "NotebookEdit": "notebook_path",
    "Write": "file_path",
}
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
"""Below a home folder."""
_STEERING: Final = frozenset((".claude", ".git", ".github", ".gitlab-ci.yml", ".husky", ".vscode"))
"""Parts of a project that say what runs there by itself."""


def review(name: str, given: Mapping[str, Any], place: Place) -> Finding:
    """What is known of a call of the tool `name` with these arguments."""
    if name in _QUIET:
        return Finding("harmless", f"`{name}` changes nothing outside the client")
    key = _READ.get(name) or _WRITE.get(name)
    if key is None:
        return Finding("undecided", "nothing is known about this tool")
    value = given.get(key, "" if name in ("Glob", "Grep", "LS") else None)
    if not isinstance(value, str) or "\0" in value:
        return Finding("undecided", f"`{key}` is not a path")
    path = absolute(value, place)
    if path is None:
        return Finding("undecided", "the working folder is not known")
    if _is_secret(path, place):
        return Finding("harmful", "it reads or writes credentials")
    inside = any(within(path, root) for root in place.roots)
    return _read(path, inside) if name in _READ else _written(path, inside)


def _read(path: str, inside: bool) -> Finding:
    if not inside:
        return Finding("undecided", "it reads outside the working folder")
    if posixpath.basename(path).startswith(".env"):
        return Finding("undecided", "the file may hold secrets")
    return Finding("harmless", "it reads inside the working folder")


def _written(path: str, inside: bool) -> Finding:
    if not inside:
        return Finding("harmful", "it writes outside the working folder")
    if not _STEERING.isdisjoint(path.split("/")) or posixpath.basename(path).startswith(".env"):
        return Finding("undecided", "the file decides what runs by itself, or may hold secrets")
    return Finding("harmless", "it writes inside the working folder, as the client lets it anyway")


def _is_secret(path: str, place: Place) -> bool:
    homes = (place.home, "/root") if place.home else ("/root",)
    return path in ("/etc/shadow", "/etc/sudoers") or any(
        within(path.casefold(), posixpath.join(home, secret).casefold())
        for home in homes
        for secret in _SECRETS
    )
