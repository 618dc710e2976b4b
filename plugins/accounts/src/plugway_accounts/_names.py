"""Names of people and groups, and patterns of models, as they are written and stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from plugway_accounts._errors import AccountError

EVERYTHING: Final = ("*",)
NOTHING: Final = ("",)
"""Patterns that match no model: an empty list would allow all."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RESERVED: Final = ("owner", "anonymous")
_LONGEST: Final = 200
_MOST: Final = 100


def is_name(name: str) -> bool:
    """Whether a person or group can have this name."""
    return _NAME.fullmatch(name) is not None


def checked_name(name: str, kind: str) -> str:
    """The name, if a person or group (`kind`) may have it. Raises `AccountError`."""
    if not is_name(name):
        shown = name if len(name) <= 40 else f"{name[:40]}…"
        raise AccountError(
            f"{shown!r} is not a valid name of a {kind}: use at most 64 of a-z, 0-9, `.`, `_`, "
            "`-`, and begin with a letter or digit"
        )
    if kind == "person" and name in _RESERVED:
        raise AccountError(f"`{name}` is reserved by the gateway: choose another name")
    return name


def checked_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """The patterns without duplicates. Raises `AccountError`."""
    found = tuple(dict.fromkeys(patterns))
    if len(found) > _MOST:
        raise AccountError(f"more than {_MOST} patterns of models: use `*` in some of them")
    for pattern in found:
        if not pattern or len(pattern) > _LONGEST or not pattern.isprintable():
            raise AccountError(
                f"{pattern[:40]!r} is not a valid pattern of models: write `INSTANCE/MODEL`, in "
                f"which `*` matches any text, with at most {_LONGEST} characters"
            )
    return found


def stored(patterns: Sequence[str]) -> str:
    """Patterns as text in a table."""
    return orjson.dumps(patterns).decode()


def patterns_in(text: str) -> tuple[str, ...]:
    """Patterns from text in a table."""
    return EVERYTHING if text == '["*"]' else tuple(orjson.loads(text))
