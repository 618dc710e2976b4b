"""Shortens tool names for targets that allow fewer characters.

OpenAI accepts `[a-zA-Z0-9_-]{1,64}`; names of MCP tools (`mcp__server__tool`) are often longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from plugway_translation._lengths import hashed

PATTERN: Final = r"[a-zA-Z0-9_-]"
"""The characters that most APIs accept."""


PLACEHOLDER: Final = "DeferredToolPlaceholder"
"""A pseudo tool that makes Anthropic's servers load tools later; it is never called
(Claude Code 2.1.332 sends it with `defer_loading` if it has deferred tools)."""
PLACEHOLDER_LEFT_OUT: Final = f"`{PLACEHOLDER}` only has meaning to Anthropic's servers"


def is_placeholder(tool: Mapping[str, Any]) -> bool:
    """Whether this is only a marker for servers that load tools later."""
    return tool.get("name") == PLACEHOLDER and tool.get("defer_loading") is True


_SAFE: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_-]")


def safe_name(name: str) -> str:
    """A name that the Messages API accepts (`^[a-zA-Z0-9_-]{1,128}$`, Anthropic's "Define tools").

    An invalid name gets `_` for other characters, and a hash at the end.
    """
    if _SAFE.fullmatch(name):
        return name
    return with_hash(_UNSAFE.sub("_", name), name)


def with_hash(name: str, source: str, limit: int = 128) -> str:
    """`name` cut so that a short hash of `source` fits behind it within `limit` characters."""
    tail = f"_{hashed(source)[:8]}"
    return name[: limit - len(tail)] + tail


class ToolNames:
    """Converts tool names of one request in both directions. Deterministic."""

    __slots__ = ("_back", "_out", "_pattern", "changed", "limit")

    def __init__(self, names: Iterable[str], limit: int = 64, pattern: str = PATTERN) -> None:
        """`limit` is the maximum length; `pattern` is a regular expression for one character."""
        self.limit = limit
        self._pattern = pattern
        self.changed: dict[str, str] = {}
        """Changed names: client's name -> target's name."""
        names = tuple(names)
        self._out = dict(_legal_among(names, pattern, limit))
        self._back = dict(self._out)
        if len(self._out) < len(names):
            for name in names:
                self.out(name)

    def out(self, name: str) -> str:
        """The target's name for a tool, even one that the request no longer offers."""
        found = self._out.get(name)
        if found is None:
            found = name if _legal(self._pattern, self.limit).fullmatch(name) else ""
            if not found or self._back.get(found, name) != name:
                found = self._short(name)
            self._out[name] = found
            self._back[found] = name
            if found != name:
                self.changed[name] = found
        return found

    def back(self, name: str) -> str:
        """The client's name for a target's tool name; unchanged if unknown."""
        return self._back.get(name, name)

    def __contains__(self, name: object) -> bool:
        """Whether a tool has this name at the target."""
        return name in self._back

    def _short(self, name: str) -> str:
        clean = "".join(re.findall(self._pattern, name))
        for salt in range(1000):
            found = with_hash(clean, f"{salt or ''}{name}", self.limit)
            if self._back.get(found, name) == name:
                return found
        raise RuntimeError(f"no free name for the tool `{name}`")


@lru_cache(maxsize=64)
def _legal(pattern: str, limit: int) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern}){{1,{limit}}}")


@lru_cache(maxsize=64)
def _legal_among(names: tuple[str, ...], pattern: str, limit: int) -> Mapping[str, str]:
    """The names that need no change, mapped to themselves."""
    legal = _legal(pattern, limit).fullmatch
    return {name: name for name in names if legal(name)}
