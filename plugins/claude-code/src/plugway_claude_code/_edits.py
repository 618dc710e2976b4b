"""Edits of a JSON document that can be undone one by one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from plugway import as_object
from plugway_claude_code._json_file import NotEditable

How = Literal["set", "default", "append"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One value to put into a document."""

    path: tuple[str, ...]
    value: Any
    how: How = "set"
    """`set` replaces a value, `default` keeps an existing one, `append` adds to a list."""


@dataclass(frozen=True, slots=True)
class Change:
    """The effect of an edit, sufficient to undo it."""

    path: tuple[str, ...]
    how: Literal["set", "append", "made"]
    """`made`: an empty container was created."""
    new: Any
    had: bool = False
    old: Any = None

    def as_json(self) -> dict[str, Any]:
        """For the receipt."""
        return {
            "path": list(self.path),
            "how": self.how,
            "new": self.new,
            "had": self.had,
            "old": self.old,
        }

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Change:
        """From a receipt."""
        path = tuple(str(part) for part in item["path"])
        return cls(path, item["how"], item["new"], bool(item["had"]), item["old"])


def apply(
    document: Mapping[str, Any], edits: Sequence[Edit]
) -> tuple[dict[str, Any], list[Change]]:
    """A changed copy, and the changes. Raises `NotEditable` if a container has another type."""
    result = copy.deepcopy(dict(document))
    changes: list[Change] = []
    for edit in edits:
        parent = _parent(result, edit.path, changes)
        key = edit.path[-1]
        if edit.how == "append":
            _append(parent, edit, changes)
        elif key not in parent or (edit.how == "set" and parent[key] != edit.value):
            old = parent.get(key)
            changes.append(Change(edit.path, "set", edit.value, key in parent, old))
            parent[key] = copy.deepcopy(edit.value)
    return result, changes


def undo_changes(
    document: Mapping[str, Any], changes: Sequence[Change]
) -> tuple[dict[str, Any], list[str]]:
    """A copy without our remaining changes, and the paths that were changed by others since."""
    result = copy.deepcopy(dict(document))
    kept: list[str] = []
    for change in reversed(changes):
        parent = _existing(result, change.path[:-1])
        key = change.path[-1]
        if change.how == "append":
            items = parent.get(key)
            if isinstance(items, list) and change.new in items:
                cast("list[Any]", items).remove(change.new)
            continue
        if change.how == "made":
            if key in parent and not parent[key]:
                del parent[key]
            continue
        if key not in parent:
            continue  # already removed by the user
        if parent[key] != change.new:
            kept.append(".".join(change.path))
        elif change.had:
            parent[key] = change.old
        else:
            del parent[key]
    return result, kept


def _append(parent: dict[str, Any], edit: Edit, changes: list[Change]) -> None:
    key = edit.path[-1]
    if key not in parent:
        parent[key] = []
        changes.append(Change(edit.path, "made", []))
    items = parent[key]
    if not isinstance(items, list):
        raise NotEditable(f"`{'.'.join(edit.path)}` is not a list: fix it first")
    if edit.value not in items:
        cast("list[Any]", items).append(copy.deepcopy(edit.value))
        changes.append(Change(edit.path, "append", edit.value))


def _parent(
    document: dict[str, Any], path: tuple[str, ...], changes: list[Change]
) -> dict[str, Any]:
    here = document
    for depth, key in enumerate(path[:-1], 1):
        if key not in here:
            here[key] = {}
            changes.append(Change(path[:depth], "made", {}))
        inner = here[key]
        if not isinstance(inner, dict):
            raise NotEditable(f"`{'.'.join(path[:depth])}` is not an object: fix it first")
        here = cast("dict[str, Any]", inner)
    return here


def _existing(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    here: Any = document
    for key in path:
        here = as_object(here).get(key)
    return as_object(here)
