"""Addresses in what a limited caller says: only what anybody may fetch, by nobody's key.

A server that is told an address fetches it, with the owner's key where the address is its own. So
files that the owner keeps there, buckets and servers of the owner's network are not for a caller
whose grant is for models.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from plugway.upstream.origins import is_upstream
from plugway.upstream.url import address_of

_ADDRESSED: Final = re.compile(r"(?:^|[^a-z])ur[il]s?(?:$|[^a-z])|Ur[il]s?(?:$|[^a-z])|UR[IL]")
"""Names of members that hold an address, in any spelling: `image_url`, `fileUri`."""
_SCHEME: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_WORDS: Final = frozenset(
    (
        *("arguments", "content", "context", "filename", "input", "name", "output", "query"),
        *("reasoning", "reasoning_content", "refusal", "result", "signature", "text", "thinking"),
        "title",
    )
)
"""Members that hold what is said, which may begin with an address that nobody fetches."""

_API: Final = re.compile(r"(?:^|[.-])(?:api|[a-z0-9]*apis)(?:[.-]|$)")
"""Hosts that say that they are an API: `api.example.com`, `files.exampleapis.com`."""
_KEPT: Final = re.compile(
    r"/(?:v\d[^/]*|openai)/files/", re.IGNORECASE
)  # the second one is Azure's
_INNER: Final = ("localhost", "local", "internal", "lan", "home", "arpa")
"""Last labels of names that mean nothing outside of a network."""


def names_kept(name: str, value: str) -> bool:
    """Whether a member `name` of what is said gives an address that is not for everybody."""
    asked = _ADDRESSED.search(name) is not None
    if not value or (not asked and (name in _WORDS or not _SCHEME.match(value))):
        return False
    return not is_public(value)


def kept_among(name: str, values: list[Any]) -> bool:
    """The same of a member that lists addresses."""
    return any(isinstance(value, str) and names_kept(name, value) for value in values)


def is_public(address: str) -> bool:
    """Whether an address is data itself, or one on the web at which no API keeps its files."""
    if address[:5].lower() == "data:":
        return True
    if address != address.strip() or "\\" in address or not address.isprintable():
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or not _is_outside(host):
        return False
    return not (is_upstream(host) or _API.search(host) or _KEPT.search(unquote(parts.path)))


def _is_outside(host: str) -> bool:
    if not host or not host.isascii() or "%" in host:
        return False
    if (address := address_of(host)) is not None:
        return address.is_global
    return "." in host and host.rpartition(".")[2] not in _INNER
