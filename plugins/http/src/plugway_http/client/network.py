"""The way to a server: its proxy, and the certificates to trust. Opens no connection."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit
from urllib.request import getproxies_environment

from plugway_http.client.url import address_of, is_excepted

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
DIRECT: Final = "direct"


def is_proxy(url: str) -> bool:
    """Whether `url` is only a proxy's address. An unescaped `/` in a password would turn part of it
    into a host or path, which messages show."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    rest = parts.path.strip("/") or parts.query or parts.fragment
    return parts.scheme in _SCHEMES and bool(parts.hostname) and not rest


@dataclass(frozen=True, slots=True)
class ProxySetting:
    """The proxy to use for a server, if any."""

    url: str = ""
    """The proxy's URL, including its login; empty for none. Never show it; see `description`."""
    source: str = ""
    """The option or environment variable that sets it."""

    @property
    def description(self) -> str:
        """As text, without a password."""
        return f"through the proxy {self.address} ({self.source})" if self.url else "directly"

    @property
    def address(self) -> str:
        """The proxy's URL without its login."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))

    def __repr__(self) -> str:
        return f"ProxySetting({self.description})"


def proxy_for(
    url: str, proxy: str | None = None, login: str = "", *, local: bool = False
) -> ProxySetting:
    """The proxy for the server at `url`: `proxy`, or that of the environment unless it is `local`.
    Raises `ValueError` if that is invalid."""
    if proxy == DIRECT:
        return ProxySetting()
    if proxy is not None:
        return ProxySetting(with_login(proxy, login), "`proxy`")
    found = getproxies_environment()
    if local or is_near(url) or is_excepted(url, found.get("no", "")):
        return ProxySetting()
    for name in (urlsplit(url).scheme, "all"):
        if proxy := found.get(name):
            known = [key for key in os.environ if key.lower() == f"{name}_proxy"]
            source = known[0] if known else f"{name.upper()}_PROXY"
            proxy = proxy if "://" in proxy else f"http://{proxy}"
            if not is_proxy(proxy):
                raise ValueError(
                    f"{source} is not a valid proxy URL: expected `http://`, `https://` "
                    "or `socks5://`, a login escaped as in `%2F`, and `HOST:PORT`; "
                    "or set `proxy: direct`"
                )
            if why := login_too_long(proxy):
                raise ValueError(f"the login in {source}: {why}; or set `proxy: direct`")
            return ProxySetting(proxy, source)
    return ProxySetting()


def login_too_long(proxy: str) -> str:
    """Why the login in the URL is too long for SOCKS, whose lengths are one byte (RFC 1929)."""
    parts = urlsplit(proxy)
    for what, text in (("user", parts.username), ("password", parts.password)):
        size = len(unquote_to_bytes(text or ""))
        if parts.scheme.startswith("socks") and size > 255:
            return f"the {what} has {size} bytes, and SOCKS allows 255"
    return ""


def is_near(url: str) -> bool:
    """Whether `url` is on this machine or in a private network, where proxies are not used."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if address := address_of(host):
        return address.is_private
    return "." not in host or host.endswith((".local", ".localhost"))


def with_login(proxy: str, login: str) -> str:
    if not login:
        return proxy
    user, _, password = login.partition(":")
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificates to trust, and the one to show."""

    ca_file: Path | None = None
    client_certificate: Path | None = None

    def context(self, *, own: bool = False) -> ssl.SSLContext:
        """The TLS context; `own` for one that the caller may modify. Raises `ssl.SSLError` or
        `OSError`."""
        if own or self.ca_file or self.client_certificate:
            return self.check(_made())
        return _plain_context()

    def check(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Load the files into `context`. Raises `ssl.SSLError` or `OSError`."""
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        if self.client_certificate is not None:
            context.load_cert_chain(self.client_certificate, password=_no_password)
        return context


def _no_password() -> Any:
    raise ssl.SSLError("the private key is encrypted; provide one without a password")


def _made() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def _plain_context() -> ssl.SSLContext:
    """A shared context: loading the system's CA certificates takes some 10 ms."""
    return _made()
