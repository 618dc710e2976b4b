"""An HTTP client with connections to one server, directly, through a proxy or in HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugway_http.client.connection import MAX_CHUNK_BYTES, Connection
from plugway_http.client.errors import ClientError, Incomplete, InvalidResponse, Unreachable
from plugway_http.client.network import ProxySetting, Tls, proxy_for
from plugway_http.client.pool import Pool

if TYPE_CHECKING:
    from plugway_http.client.transport import Transport

__all__ = [
    "MAX_CHUNK_BYTES",
    "ClientError",
    "Incomplete",
    "InvalidResponse",
    "ProxySetting",
    "Tls",
    "Unreachable",
    "connect",
    "open_connections",
    "proxy_for",
]


def connect(
    url: str, proxy: ProxySetting, tls: Tls, *, http2: bool = False, connect_seconds: float = 5.0
) -> Transport:
    """The transport for the server at `url`, which connects on demand. Raises `Unreachable` if a
    library is missing."""
    if proxy.url or http2:
        # Rarely needed, and takes 0.1 s to import.
        from plugway_http.client.general import GeneralTransport  # noqa: PLC0415

        return GeneralTransport(url, proxy, tls, http2=http2, connect_seconds=connect_seconds)
    return Pool(url, connect_seconds, tls.context())


def open_connections() -> int:
    """The number of direct connections of this process that are open."""
    return Connection.count
