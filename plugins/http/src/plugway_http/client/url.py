"""Checks of upstream URLs: valid ones, this machine, and matches of NO_PROXY."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
_EXCEPTION = re.compile(
    r"(?:(?P<scheme>\w+)://)?(?:\[(?P<six>.+)\](?P<bits>/\d+)?|(?P<name>[^:\[]+)|(?P<plain>.*:.*:.*))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine."""
    host = urlsplit(url).hostname or ""
    address = address_of(host)
    return address.is_loopback if address else host == "localhost"


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that `host` is, in any form that a resolver accepts; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def is_excepted(url: str, no_proxy: str) -> bool:
    """Whether NO_PROXY includes the server, as curl, Go and httpx read it (`test_no_proxy.py`)."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    for entry in re.split(r"[\s,]+", no_proxy.lower()):
        found = _EXCEPTION.fullmatch(entry.rstrip("/"))
        if found and found["scheme"] in (None, "all", parts.scheme):
            name = "".join(filter(None, found.group("six", "bits", "name", "plain")))
            if int(found["port"] or port) == port and _covers(name, parts.hostname or ""):
                return True
    return False


def _covers(name: str, host: str) -> bool:
    host, bare = host.rstrip("."), name.removeprefix("*").strip(".")
    if address := address_of(host):
        try:
            within = address in ip_network(name, strict=False)
        except ValueError:
            within = name == "*"
        return within or address == address_of(bare)
    is_equal = host == bare and not name.startswith("*")
    return name == "*" or is_equal or (bool(bare) and host.endswith(f".{bare}"))


def url_problem(url: str, *, with_key: bool) -> str:
    """Why `url` cannot be an upstream's URL; empty if it can."""
    if not url.isascii() or any(character in url for character in "\\ ") or not url.isprintable():
        return "it must contain only visible ASCII characters, and no backslash"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"{url!r} is not a URL: {error}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "it must start with http:// or https:// and name a host"
    if "@" in parts.netloc:
        return "a URL must not contain a user or password; use `api_key`"
    if "?" in url or "#" in url:
        return "it must not have a query or fragment"
    if _is_metadata(parts.hostname):
        return "that is a cloud machine's metadata service, not a model"
    if with_key and parts.scheme == "http" and not is_loopback(url):
        return "the key would be sent in clear text; use https, or remove the key"
    return ""


def _is_metadata(host: str) -> bool:
    address = address_of(host)
    if address is None:
        return host.rstrip(".") in {"metadata.google.internal", "metadata"}
    return address.is_link_local or str(address) in {"fd00:ec2::254", "100.100.100.200"}
