"""Network options of an upstream: its proxy, and the certificates to trust.

Reads the options and the environment; opens no connection.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit
from urllib.request import getproxies_environment

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from plugway.types.errors import PlugwayError
from plugway.types.options import Options, Secret
from plugway.upstream.url import address_of, is_excepted

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
DIRECT: Final = "direct"


def _proxy_fits(url: str) -> str:
    if url == DIRECT:
        return url
    if "@" in url or "%" in url:
        raise ValueError("put the user and the password in `proxy_login`")
    if not _is_proxy(url):
        raise ValueError("should be `direct`, or `http://`, `https://` or `socks5://` and a host")
    return url.rstrip("/")


def _is_proxy(url: str) -> bool:
    """Whether `url` is only a proxy's address. An unescaped `/` in a password would turn part of it
    into a host or path, which messages show."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    rest = parts.path.strip("/") or parts.query or parts.fragment
    return parts.scheme in _SCHEMES and bool(parts.hostname) and not rest


def _existing_file(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


class NetworkOptions(Options):
    """How to connect to a server. Options of backends extend these, and `Upstream` takes them."""

    connect_seconds: Annotated[float, Field(gt=0, le=120)] | None = None
    """Time limit for connecting: 1 on this machine and 5 elsewhere, unless set."""
    proxy: Annotated[str, AfterValidator(_proxy_fits)] | None = None
    """The proxy to use: `http://`, `https://` or `socks5://` and `HOST:PORT`; `direct` for none.
    Default: that of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, except for hosts in NO_PROXY, this
    machine, private addresses and the zone `local`."""
    proxy_login: Secret | None = None
    """`USER:PASSWORD` for the proxy: `{$env: NAME}`, `{$keyring: NAME}` or `{$file: PATH}`."""
    http2: bool = False
    """Use HTTP/2 if the server supports it."""
    ca_file: Annotated[Path, AfterValidator(_existing_file)] | None = None
    """CA certificates (PEM) to trust in addition to those of this machine, for the server and for
    an `https://` proxy."""
    client_certificate: Annotated[Path, AfterValidator(_existing_file)] | None = None
    """The gateway's certificate and key in one file (PEM), for a server that asks for one."""

    @field_validator("proxy_login")
    @classmethod
    def _login_fits(cls, login: Secret | None, info: ValidationInfo) -> Secret | None:
        proxy = info.data.get("proxy") or ""
        if login and (why := _too_long(_with_login(proxy, login.get_secret_value()))):
            raise ValueError(f"{why}: shorten it, or use an `http://` proxy")
        return login

    @field_validator("ca_file", "client_certificate")
    @classmethod
    def _certificates_can_be_read(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            try:
                _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), **{info.field_name or "": path})
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"{path} cannot be used: {error}") from None
        return path


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


def proxy_for(url: str, options: NetworkOptions, zone: str = "") -> ProxySetting:
    """The proxy for the server at `url`. Raises `PlugwayError` if it is invalid."""
    if options.proxy == DIRECT:
        return ProxySetting()
    if options.proxy is not None:
        login = options.proxy_login.get_secret_value() if options.proxy_login else ""
        return ProxySetting(_with_login(options.proxy, login), "`proxy`")
    found = getproxies_environment()
    if zone == "local" or is_near(url) or is_excepted(url, found.get("no", "")):
        return ProxySetting()
    for name in (urlsplit(url).scheme, "all"):
        if proxy := found.get(name):
            known = [key for key in os.environ if key.lower() == f"{name}_proxy"]
            source = known[0] if known else f"{name.upper()}_PROXY"
            proxy = proxy if "://" in proxy else f"http://{proxy}"
            if not _is_proxy(proxy):
                raise PlugwayError(
                    f"{source} is not a valid proxy URL: expected `http://`, `https://` "
                    "or `socks5://`, a login escaped as in `%2F`, and `HOST:PORT`; "
                    "or set `proxy: direct`"
                )
            if why := _too_long(proxy):
                raise PlugwayError(f"the login in {source}: {why}; or set `proxy: direct`")
            return ProxySetting(proxy, source)
    return ProxySetting()


def _too_long(proxy: str) -> str:
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


def _with_login(proxy: str, login: str) -> str:
    if not login:
        return proxy
    user, _, password = login.partition(":")
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def tls_context(options: NetworkOptions, *, own: bool = False) -> ssl.SSLContext:
    """The TLS context for `options`; `own` for one that the caller may modify.

    Raises `ssl.SSLError` or `OSError`.
    """
    if own or options.ca_file or options.client_certificate:
        return _loaded(_made(), options.ca_file, options.client_certificate)
    return _plain_context()


def _loaded(
    context: ssl.SSLContext, ca_file: Path | None = None, client_certificate: Path | None = None
) -> ssl.SSLContext:
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    if client_certificate is not None:
        context.load_cert_chain(client_certificate, password=_no_password)
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
