"""Host names and addresses, as `Host` headers, URLs and certificates have them."""

from __future__ import annotations

import ipaddress
import re

_HOST = re.compile(r"((\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def is_loopback_host(host: str) -> bool:
    """Whether a host is only reachable from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"


def in_url(host: str) -> str:
    """A host as URLs have it: an IPv6 address is in brackets."""
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        return host


def host_header(text: str) -> str:
    """A `Host` header for a comparison; `*.` may stand for one label. Raises `ValueError`."""
    host = in_url(text.lower())
    if not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} should be a name such as `llm.example.com`, without scheme")
    return host


def has_port(host: str) -> bool:
    """Whether a host, as URLs have it, is followed by a port."""
    return ":" in host.rpartition("]")[2]


def without_port(host: str) -> str:
    """The name or address alone, as certificates have it."""
    return (host.rpartition(":")[0] if has_port(host) else host).strip("[]")


def matches(host: bytes, allowed: frozenset[bytes]) -> bool:
    """Whether a `Host` header is in a set, or a name there whose first label is `*`."""
    host = host.lower()
    label, _, rest = host.partition(b".")
    return host in allowed or (label.replace(b"-", b"").isalnum() and b"*." + rest in allowed)
