"""Check the regular expressions of clients before Python's `re` runs them.

`re` backtracks: a pattern such as `(a+)+$` takes exponential time. A pattern that is not certainly
harmless is not run.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

_MAX_PATTERN: Final = 1000
_MAX_STEPS: Final = 20_000_000
_MAX_OPTIONS: Final = 10
"""Maximum optional parts in one pattern, because each may double the time."""
_TOKEN = re.compile(
    r"(?P<escape>\\.)|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<open>\((?:\?(?:[:=!]|<[=!]|P?<\w+>))?)"
    r"|(?P<close>\))|(?P<branch>\|)|(?P<count>[*+?]|\{(?P<low>\d*)(?P<comma>,?)(?P<high>\d*)\})|(?P<other>.)",
    re.DOTALL,
)


@dataclass(slots=True)
class _Group:
    loops: bool = False
    branches: bool = False


def endless_loops(pattern: str) -> int | None:
    """Number of unbounded repetitions in `pattern`; None if their time cannot be bounded."""
    if len(pattern) > _MAX_PATTERN:
        return None
    groups, last, loops, options = [_Group()], None, 0, 0
    for token in _TOKEN.finditer(pattern):
        kind = _kind(token)
        if kind == "escape" and token[0][1] in "123456789kg":
            return None
        if kind != "count":
            last = _follow(groups, kind)
            continue
        low, high = _bounds(token)
        if last is not None and (last.loops or last.branches) and high > 1:
            return None
        groups[-1].loops |= low != high
        options += (low, high) == (0, 1)
        loops += low != high and high > 1
    return loops if len(groups) == 1 and options <= _MAX_OPTIONS else None


def _kind(token: re.Match[str]) -> str | None:
    return "count" if token["count"] else token.lastgroup


def _follow(groups: list[_Group], kind: str | None) -> _Group | None:
    """Enter, leave or mark a group; returns the group that a following repetition applies to."""
    if kind == "open":
        groups.append(_Group())
    elif kind == "branch":
        groups[-1].branches = True
    elif kind == "close" and len(groups) > 1:
        closed = groups.pop()
        groups[-1].loops |= closed.loops
        return closed
    return None


def _bounds(token: re.Match[str]) -> tuple[int, float]:
    if token[0] == "?":
        return 0, 1
    if token[0] in {"*", "+"}:
        return int(token[0] == "+"), math.inf
    low, comma, high = token["low"], token["comma"], token["high"]
    return int(low or 0), int(high) if high else (math.inf if comma else int(low or 0))


def matches(pattern: str, text: str) -> bool | None:
    """Whether `pattern` is found in `text`; None if the search may take too long."""
    loops = endless_loops(pattern)
    if loops is None:
        return None
    degree = loops + (0 if pattern.startswith("^") else 1)
    if (len(text) + 1) ** degree > _MAX_STEPS:
        return None
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return None
