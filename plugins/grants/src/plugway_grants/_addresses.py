"""Addresses in requests of limited callers: only public ones, which need no key, are allowed.

A server fetches the addresses in a request, its own with the owner's key. A limited caller could
thus read the owner's files, buckets and servers in the owner's network.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from plugway_http.client.url import address_of

_ADDRESSED: Final = re.compile(r"(?:^|[^a-z])ur[il]s?(?:$|[^a-z])|Ur[il]s?(?:$|[^a-z])|UR[IL]")
"""Member names that contain an address, in any spelling: `image_url`, `fileUri`."""
_SCHEME: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_WORDS: Final = frozenset(
    (
        *("arguments", "content", "context", "filename", "input", "name", "output", "query"),
        *("reasoning", "reasoning_content", "refusal", "result", "signature", "text", "thinking"),
        "title",
    )
)
"""Members that contain text, which may begin with an address but is not fetched."""

_API: Final = re.compile(r"(?:^|[.-])(?:api|[a-z0-9]*apis)(?:[.-]|$)")
"""Host names of APIs: `api.example.com`, `files.exampleapis.com`."""
_STORED_FILE: Final = re.compile(r"/v\d[^/]*/files/|/files/[^/]+/content/?$", re.IGNORECASE)
_INNER: Final = ("localhost", "local", "internal", "lan", "home", "arpa")
"""Top-level domains of private networks."""
_upstreams: Final[set[str]] = set()
"""Hosts of all configured upstreams, in lower case and without a trailing dot."""


def add_upstream_host(host: str) -> None:
    """Register the host of an upstream, which has the owner's key."""
    _upstreams.add(host.lower().rstrip("."))


def has_private_address(name: str, value: str) -> bool:
    """Whether the member `name` contains an address that is not public."""
    is_address = _ADDRESSED.search(name) is not None
    if not value or (not is_address and (name in _WORDS or not _SCHEME.match(value))):
        return False
    return not is_public(value)


def any_private_address(name: str, values: list[Any]) -> bool:
    """Whether a value of the list `name` is an address that is not public."""
    return any(isinstance(value, str) and has_private_address(name, value) for value in values)


def is_public(address: str) -> bool:
    """Whether an address is a data URL, or one on the web that is not a file stored at an API."""
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
    return not (host in _upstreams or _API.search(host) or _STORED_FILE.search(unquote(parts.path)))


def _is_outside(host: str) -> bool:
    if not host or not host.isascii() or "%" in host:
        return False
    if (address := address_of(host)) is not None:
        return address.is_global
    return "." in host and host.rpartition(".")[2] not in _INNER
