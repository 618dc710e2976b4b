"""Network options of an upstream: its proxy, and the certificates to trust."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from plugway.types.options import Options, Secret
from plugway_http.client import network
from plugway_http.client.network import ProxySetting
from plugway_wire.errors import PlugwayError


def _proxy_fits(url: str) -> str:
    if url == network.DIRECT:
        return url
    if "@" in url or "%" in url:
        raise ValueError("put the user and the password in `proxy_login`")
    if not network.is_proxy(url):
        raise ValueError("should be `direct`, or `http://`, `https://` or `socks5://` and a host")
    return url.rstrip("/")


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
        whole = network.with_login(proxy, login.get_secret_value()) if login else ""
        if why := network.login_too_long(whole):
            raise ValueError(f"{why}: shorten it, or use an `http://` proxy")
        return login

    @field_validator("ca_file", "client_certificate")
    @classmethod
    def _certificates_can_be_read(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            try:
                network.Tls(**{info.field_name or "": path}).check(
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                )
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"{path} cannot be used: {error}") from None
        return path


def proxy_for(url: str, options: NetworkOptions, zone: str = "") -> ProxySetting:
    """The proxy for the server at `url`. Raises `PlugwayError` if it is invalid."""
    login = options.proxy_login.get_secret_value() if options.proxy_login else ""
    try:
        return network.proxy_for(url, options.proxy, login, local=zone == "local")
    except ValueError as error:
        raise PlugwayError(str(error)) from None
