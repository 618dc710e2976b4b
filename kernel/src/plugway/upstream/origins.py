"""Keys that are bound to one place, and where a request with one of them may go; and whose hosts
the servers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from plugway.credentials import register_secret
from plugway.upstream.url import DEFAULT_PORTS


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as a key store has it."""

    value: str = field(repr=False)
    origin: str = ""
    """The only place it may be sent to, such as `https://api.example.com`; empty for anywhere."""


_bound: dict[str, StoredKey] = {}
"""The bound keys that this process has read, by name; replaced and never changed, because keys are
read in a thread while requests are sent."""


def remember_key(name: str, key: StoredKey) -> None:
    """From now on the value of the key called `name` goes to its origin alone, and into no log."""
    global _bound
    register_secret(key.value)
    kept = {other: bound for other, bound in _bound.items() if other != name}
    _bound = {**kept, name: key} if key.origin and key.value else kept


_hosts: set[str] = set()
"""Hosts of all servers that this process has spoken to or might."""


def remember_host(url: str) -> None:
    """From now on the host of `url` is known as one of a server that requests may go to."""
    _hosts.add((urlsplit(url).hostname or "").rstrip("."))


def is_upstream(host: str) -> bool:
    """Whether requests may go to `host`, which is in small letters and without a last dot."""
    return host in _hosts


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, a usual port left out; empty where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in DEFAULT_PORTS or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    usual = port in (None, DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" if usual else f"{parts.scheme}://{host}:{port}"


def misdirected(url: str, lines: Mapping[str, str]) -> str:
    """Why these credential lines may not be sent to `url`; empty where they may."""
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
