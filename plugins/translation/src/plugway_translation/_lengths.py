"""Shortens texts of a request that exceed a server's limits. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from typing import Any, cast

from plugway import as_object
from plugway_translation._notes import Notes


def shortened(
    body: Mapping[str, Any], limits: Mapping[str, int], who_asks: Container[str], notes: Notes
) -> dict[str, Any]:
    """Shorten texts in `body` that exceed `limits`: field -> maximum characters.

    A field is a path without indexes (`tools.function.description`). A shortened text ends with
    `…`; below a top-level field in `who_asks` it becomes a hash instead.
    """
    found = dict(body)
    for path, most in limits.items():
        root, *rest = path.split(".")
        if root in found:
            who = root in who_asks
            found[root], times = _shorter(found[root], rest, most, who=who)
            how = "a hash" if who else "its beginning"
            for _ in range(times):
                notes.add(path, "translate", f"{how}: the server accepts {most} characters")
    return found


def _shorter(value: Any, path: list[str], most: int, *, who: bool) -> tuple[Any, int]:
    """Shorten the texts at `path`; return the new value and the number of changes."""
    if isinstance(value, list):
        items = [_shorter(item, path, most, who=who) for item in cast("list[Any]", value)]
        return [item for item, _ in items], sum(times for _, times in items)
    if path and isinstance(value, dict):
        name, *rest = path
        members = as_object(value)
        inner, times = _shorter(members.get(name), rest, most, who=who)
        return ({**members, name: inner} if times else members), times
    if path or not isinstance(value, str) or len(value) <= most:
        return value, 0
    return (hashed(value)[:most] if who else value[: most - 1] + "…"), 1


def hashed(text: str) -> str:
    """A SHA-256 hash in hex (64 characters) that does not reveal `text`."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
