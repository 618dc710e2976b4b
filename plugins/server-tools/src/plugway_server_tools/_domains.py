"""`allowed_domains` and `blocked_domains` of a tool. Pure.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#domain-filtering:
entries have no scheme, include subdomains, and may have a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from plugway import as_list

MAX_DOMAINS = 100
"""Maximum number of entries of a list; the others are ignored if they block, and allow nothing."""


@dataclass(frozen=True, slots=True)
class Domains:
    """Which pages a tool may return."""

    allowed: tuple[str, ...] = ()
    """Empty for all."""
    blocked: tuple[str, ...] = ()

    @classmethod
    def of(cls, tool: Mapping[str, Any]) -> Domains:
        """From the fields of a tool."""
        return cls(_entries(tool.get("allowed_domains")), _entries(tool.get("blocked_domains")))

    def admit(self, url: str) -> bool:
        """Whether a page may be returned; not if its URL is invalid."""
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").rstrip(".")
        except ValueError:
            return False
        if any(_covers(entry, host, parts.path) for entry in self.blocked):
            return False
        return not self.allowed or any(_covers(e, host, parts.path) for e in self.allowed)


def _entries(values: Any) -> tuple[str, ...]:
    texts = [value.strip() for value in as_list(values) if isinstance(value, str)]
    plain = (text.partition("://")[2] or text for text in texts)
    return tuple(text.removeprefix("*.").rstrip("/") for text in plain if text)[:MAX_DOMAINS]


def _covers(entry: str, host: str, path: str) -> bool:
    domain, _, folder = entry.partition("/")
    domain = domain.lower()
    if host != domain and not host.endswith(f".{domain}"):
        return False
    inside = path.lstrip("/")
    folder = folder.removesuffix("*")
    return not folder or inside == folder or inside.startswith(folder.rstrip("/") + "/")
