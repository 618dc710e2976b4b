"""Keys that may be sent to one origin only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from plugway_http.client.url import DEFAULT_PORTS
from plugway_log import register_secret


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key from a key store."""

    value: str = field(repr=False)
    origin: str = ""
    """The only origin it may be sent to, such as `https://api.example.com`; empty for any."""


_bound: dict[str, StoredKey] = {}
"""Keys with an origin, by name. Replaced, not mutated, because a thread reads keys while
requests are sent."""


def remember_key(name: str, key: StoredKey) -> None:
    """Restrict the key called `name` to its origin, and redact it in logs."""
    global _bound
    register_secret(key.value)
    kept = {other: bound for other, bound in _bound.items() if other != name}
    _bound = {**kept, name: key} if key.origin and key.value else kept


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, without a default port; empty if the URL is invalid."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in DEFAULT_PORTS or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    is_default = port in (None, DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" if is_default else f"{parts.scheme}://{host}:{port}"


def misdirected(url: str, lines: Mapping[str, str]) -> str:
    """Why these credential headers must not be sent to `url`; empty if they may be."""
    here = origin_of(url)
    for text in lines.values():
        places = {key.origin for key in _bound.values() if key.value in text}
        if places and here not in places:
            return (
                f"this key is stored for {' and '.join(sorted(places))} and is not sent to "
                f"{here}: fix `base_url`, or store a key for that address with "
                f"`plugway keys set NAME --for {here}`"
            )
    return ""
