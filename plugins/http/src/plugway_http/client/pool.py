"""The connections to one origin: opened on demand, kept for a minute, closed together."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from asyncio.staggered import staggered_race
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final
from urllib.parse import urlsplit

from plugway_http.cancel import Deadline
from plugway_http.client.connection import Connection, ConnectionResponse
from plugway_http.client.errors import ConnectionLost, Unreachable, untrusted
from plugway_http.wire import Headers, joined

KEEP_SECONDS: Final = 60.0
"""How long an idle connection is kept."""
RESEND_SECONDS: Final = 5.0
"""A request is sent again only if a reused connection is lost within this time: it had ended
before. Later the upstream may have done the work already."""
NEXT_ADDRESS_SECONDS: Final = 0.25
"""Delay before the next address of a host name is tried as well (RFC 8305)."""

_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""A host that has vanished, as when its power fails, is noticed after a minute of silence; a
request would otherwise wait for it until its time limit. Names that a system lacks are left out."""

START_IT: Final = "start its server, or fix `base_url`"
SEE_NETWORK: Final = "check this machine's network, or fix `base_url`"
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""OpenSSL's reasons for a response that is not TLS; they differ between its versions."""
_CERTIFICATE_FIXES: Final = {
    9: "check this machine's clock",
    10: "its owner must renew the certificate, or this machine's clock is wrong",
    62: "use the host name of the certificate in `base_url`",
    64: "use the host name of the certificate in `base_url`",
}
"""By OpenSSL's `X509_V_ERR_` codes: not yet valid, expired, another host, another address."""
_UNKNOWN_AUTHORITY: Final = (
    "if you trust it, add its CA to this machine's trust store, or to the file in SSL_CERT_FILE"
)


class Pool:
    """Connections to one origin."""

    def __init__(self, url: str, connect_seconds: float, context: ssl.SSLContext) -> None:
        """Connects to the host, port and scheme of `url`."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        self._where = url
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if tls else 80)
        self._seconds = connect_seconds
        self._tls = context if tls else None
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(
        self, method: str, target: str, lines: Headers, body: bytes | None
    ) -> ConnectionResponse:
        """Send a request; returns the response when its head has arrived.

        If a reused connection is closed at once, without a byte of a response, the request is sent
        again on a new one, once.
        """
        head = joined(f"{method} {target} HTTP/1.1", lines)
        idle = self._reusable()
        if idle is not None:
            began = self._loop.time()
            try:
                return await idle.send(head, body or b"").wait_for_head()
            except ConnectionLost as lost:
                if lost.begun or self._loop.time() - began > RESEND_SECONDS:
                    raise
        return await (await self._new()).send(head, body or b"").wait_for_head()

    def _reusable(self) -> Connection | None:
        """An idle connection that still seems to be open, the youngest first."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _new(self) -> Connection:
        """A new connection. Raises `Unreachable` with place, reason and fix."""
        connected: list[socket.socket] = []
        try:
            with Deadline(self._seconds):
                return await self._connect(connected)
        except TimeoutError:
            handshake = connected and self._tls is not None
            doing = "in the TLS handshake" if handshake else "while connecting"
            reason = f"{self._where} timed out after {self._seconds:g} s {doing}"
            raise Unreachable(f"{reason} - {SEE_NETWORK}") from None
        except ssl.SSLError as error:
            raise untrusted(self._where, tls_reason(error)) from error
        except (socket.gaierror, UnicodeError) as error:
            reason = f"cannot resolve the host name in {self._where}"
            raise Unreachable(f"{reason} - {SEE_NETWORK}") from error
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            why = os.strerror(error.errno) if error.errno else str(error)
            reason = f"cannot connect to {self._where}: {why.lower() or 'connection closed'}"
            fix = START_IT if refused else SEE_NETWORK
            raise Unreachable(f"{reason} - {fix}") from error

    async def aclose(self) -> None:
        """Close every connection, including those in use."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._closed = True
        self._idle.clear()
        while self._open:  # `connection_lost` is called in the loop's next iteration
            for connection in self._open:
                connection.abort()
            await asyncio.sleep(0)

    async def _connect(self, sockets: list[socket.socket]) -> Connection:
        """A connection; its socket is in `sockets` as soon as it is connected."""
        connected = await _connected(self._loop, self._host, self._port)
        sockets.append(connected)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        _, connection = await self._loop.create_connection(
            partial(Connection, self._where, self._loop, self._freed, self._lost),
            sock=connected,
            ssl=self._tls,
            server_hostname=self._host if self._tls is not None else None,
        )
        if self._closed or not connection.open:  # `connection_lost` may have been called already
            connection.abort()
            raise Unreachable(f"the connection to {self._where} is not open")
        self._open.add(connection)
        return connection

    def _freed(self, connection: Connection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEP_SECONDS, self._close_old)

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _close_old(self) -> None:
        """Close connections that have been idle too long; the oldest come first."""
        self._sweep = None
        oldest = self._loop.time() - KEEP_SECONDS
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).abort()
        if self._idle:
            wait = self._idle[0].idle_since - oldest
            self._sweep = self._loop.call_later(wait, self._close_old)


def tls_reason(error: ssl.SSLError) -> str:
    """The problem and the fix as text, to follow the server's address."""
    if error.reason in _NO_TLS:
        return "does not speak TLS - use `http://` in `base_url`, or its TLS port"
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"cannot be trusted: TLS failed ({error}) - check the server's log and `base_url`"
    fix = _CERTIFICATE_FIXES.get(error.verify_code, _UNKNOWN_AUTHORITY)
    return f"cannot be trusted: {error.verify_message} - {fix}"


async def _connected(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket that is connected to the first address of `host` that accepts."""
    found = await _addresses(loop, host, port)
    attempts = [partial(_attempt, loop, *item) for item in found]
    if len(attempts) == 1:
        return await attempts[0]()
    winner, _, errors = await staggered_race(attempts, NEXT_ADDRESS_SECONDS)
    if winner is None:
        raise next(error for error in errors if error is not None)
    return winner


async def _attempt(loop: asyncio.AbstractEventLoop, family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _addresses(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> list[tuple[int, Any]]:
    """Family and address of each address, alternating between families."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    else:
        return [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (host, port))]
    families: dict[int, list[tuple[int, Any]]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, address))
    alternating = chain.from_iterable(zip_longest(*families.values()))
    return [item for item in alternating if item is not None]
