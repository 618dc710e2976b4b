"""A proxy for a browser that tools drive: through it, pages reach public addresses only.

`_relay` serves one connection; it is imported with the first proxy, because few gateways need one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Bounds of a guarding proxy; each has an effect on its own."""

    connections: int = 256
    """Connections of clients at once; one more gets 503. Chromium opens up to 32 to a proxy."""
    head_bytes: int = 64 * 1024
    """Size of the head of a request or response."""
    head_seconds: float = 20
    """Time for a client to send the head of a request."""
    connect_seconds: float = 15
    """Time to find a target and connect to it."""
    idle_seconds: float = 300
    """Time without a byte in either direction, also between two requests."""


class guard_proxy:  # noqa: N801 - it is used like a function
    """A forward proxy on a free port of 127.0.0.1, as `async with guard_proxy() as url`.

    It serves HTTP/1.1: absolute `http://` URLs, `CONNECT`, and upgrades to WebSocket. Each target
    is resolved here, checked with `public_addresses`, and connected to at an address that was
    checked, so that neither a redirect, a frame, a script nor a name server leads to this machine,
    its network or a cloud's metadata service. A refused target gets a page with status 403.

    `allow` lists the user's own exceptions as `host:port`, an IPv6 address in brackets; they are
    compared with the target as it is written, without regard to case.

    Chromium sends requests to loopback past a proxy unless it is started with
    `--proxy-bypass-list="<-loopback>"` (Playwright does that), and WebRTC uses UDP unless it is
    started with `--force-webrtc-ip-handling-policy=disable_non_proxied_udp`.

    There is no password: neither Chromium's `--proxy-server` nor that of `@playwright/mcp` takes
    one. Another user of this machine could use the proxy to reach public addresses and those in
    `allow`, which are open to that user without it. A web page cannot use it: a request that does
    not address a proxy is refused.

    A client that closes its side of the connection during a request has left, as for nginx; in a
    tunnel each side may be closed on its own. When the block ends, all connections are closed.

    Raises:
        ValueError: an entry of `allow` is not `host:port`.
        OSError: no port can be opened.
    """

    def __init__(self, allow: Sequence[str] = (), *, limits: ProxyLimits | None = None) -> None:
        self._allowed = frozenset(map(_pair, allow))
        self._limits = limits or ProxyLimits()
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._serve: Callable[..., Awaitable[None]] | None = None

    async def __aenter__(self) -> str:
        """Open the port; the URL of the proxy."""
        from plugway_tools._relay import serve  # noqa: PLC0415 - see above

        self._serve = serve
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the port and all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or self._serve is None:
            writer.transport.abort()
            return
        full = len(self._relays) >= self._limits.connections
        serving = self._serve(reader, writer, self._allowed, self._limits, full)
        relay = asyncio.ensure_future(serving)
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)


def _pair(entry: str) -> tuple[str, int]:
    """An entry of `allow` as a host and a port."""
    try:
        parts = urlsplit(f"//{entry}")
        if parts.hostname and parts.port and entry == parts.netloc and "@" not in entry:
            return parts.hostname.rstrip("."), parts.port
    except ValueError:
        pass
    raise ValueError(f"{entry!r} is not `host:port`, such as `localhost:3000` or `[::1]:3000`")
