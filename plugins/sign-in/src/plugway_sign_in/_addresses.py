"""Which addresses are safe, and the gateway's own address as a client sees it.

Claude Code accepts `http` for this machine only, so any other host is reached by `https`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def is_secure(url: str) -> bool:
    """Whether `url` is an `https` address, or an `http` one of this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or any(c.isspace() for c in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_local(host))


def is_origin(url: str) -> bool:
    """Whether `url` is such an address without a path."""
    return is_secure(url) and urlsplit(url.rstrip("/"))[2:] == ("", "", "")


def base_url(request: Request, public_url: str) -> str:
    """The gateway's address for the client of this request. The guard has checked its host."""
    if public_url:
        return public_url
    host = request.headers["host"].lower()
    local = is_local(urlsplit(f"//{host}").hostname or "")
    scheme = "http" if local and request.url.scheme == "http" else "https"
    return f"{scheme}://{host}"
