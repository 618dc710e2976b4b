"""`allowed_domains` and `blocked_domains` of a tool. Pure.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#domain-filtering:
entries have no scheme, include subdomains, and may have a path with one `*`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from plugway import as_list

MAX_DOMAINS = 100
"""Maximum number of entries of a list; the others are ignored if they block, and allow nothing."""


@dataclass(frozen=True, slots=True)
class Domains:
    """Which pages a tool may return."""

    allowed: tuple[str, ...] | None = None
    """None for all."""
    blocked: tuple[str, ...] = ()

    @classmethod
    def of(cls, tool: Mapping[str, Any]) -> Domains:
        """From the fields of a tool. A value that is not a list allows nothing."""
        allowed = tool.get("allowed_domains")
        return cls(_entries(allowed) if allowed else None, _entries(tool.get("blocked_domains")))

    def admit(self, url: str) -> bool:
        """Whether a page may be returned; not if its URL is invalid."""
        try:
            parts = urlsplit(url)
            host = _ascii(parts.hostname or "")
        except ValueError:
            return False
        path = posixpath.normpath(f"/{unquote(parts.path)}").lstrip("/")
        path += "/" if parts.path.endswith("/") else ""
        if any(_covers(entry, host, path) for entry in self.blocked):
            return False
        return self.allowed is None or any(_covers(entry, host, path) for entry in self.allowed)


def _entries(values: Any) -> tuple[str, ...]:
    texts = [value.strip() for value in as_list(values) if isinstance(value, str)]
    plain = (text.partition("://")[2] or text for text in texts)
    return tuple(_entry(text) for text in plain if text)[:MAX_DOMAINS]


def _entry(text: str) -> str:
    domain, slash, folder = text.partition("/")
    domain = _ascii(domain.removeprefix("*.").partition(":")[0])
    return f"{domain}{slash}{folder}".rstrip("/")


def _ascii(host: str) -> str:
    """A host as it is resolved; the same text if it is not one."""
    host = host.lower().rstrip(".")
    with suppress(UnicodeError):
        return host if host.isascii() else host.encode("idna").decode()
    return host


def _covers(entry: str, host: str, path: str) -> bool:
    domain, _, folder = entry.partition("/")
    if host != domain and not host.endswith(f".{domain}"):
        return False
    before, star, after = unquote(folder).lstrip("/").partition("*")
    rule = re.escape(before) + (".*" if star else "") + re.escape(after)
    return not folder or re.match(f"{rule}(?:/|$)", path, re.DOTALL) is not None
