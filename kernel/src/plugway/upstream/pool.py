"""The connections to one origin: opened when needed, kept for a minute, closed with the plugin.

What is said on a connection is the business of `upstream/connection`.
"""

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

from plugway.types.errors import BackendUnavailable, Headers
from plugway.upstream.connection import Answer, Connection, Unanswered
from plugway.upstream.wire import joined

KEEP_SECONDS: Final = 60.0
"""How long a connection that nobody uses is kept."""
RESEND_SECONDS: Final = 5.0
"""How soon a kept connection must be lost to be taken for one that had ended before: an upstream
that breaks off later may have done the work."""
NEXT_ADDRESS_SECONDS: Final = 0.25
"""After this time without an answer the next address of a name is tried as well (RFC 8305)."""

START_IT: Final = "start its server, or correct `base_url`"
SEE_NETWORK: Final = "see to the network of this machine, or correct `base_url`"
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""How OpenSSL calls an answer that is no TLS, by version."""
_CERTIFICATE_FIXES: Final = {
    9: "see to the clock of this machine",
    10: "its owner has to renew the certificate, or the clock of this machine is wrong",
    62: "write the name that the certificate is for in `base_url`",
    64: "write the name that the certificate is for in `base_url`",
}
"""By OpenSSL's `X509_V_ERR_` codes: not yet valid, expired, another host, another address."""
_UNKNOWN_AUTHORITY: Final = (
    "if you trust it, add its authority to those of this machine, or to the file in SSL_CERT_FILE"
)


class Pool:
    """Connections to one origin."""

    def __init__(self, url: str, connect_seconds: float, context: ssl.SSLContext) -> None:
        """Of the host, port and scheme of `url`."""
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

    async def ask(self, method: str, target: str, lines: Headers, body: bytes | None) -> Answer:
        """Send a request; its answer, when the head of that is there.

        A kept connection that the server closes at once, without a byte of an answer, is replaced
        by another one, once.
        """
        head = joined(f"{method} {target} HTTP/1.1", lines)
        kept = self.kept()
        if kept is not None:
            asked = self._loop.time()
            try:
                return await kept.ask(head, body or b"").headed()
            except Unanswered as lost:
                if lost.begun or self._loop.time() - asked > RESEND_SECONDS:
                    raise
        return await (await self.opened()).ask(head, body or b"").headed()

    def kept(self) -> Connection | None:
        """A connection that was used before and still seems to be there, the youngest first."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def opened(self) -> Connection:
        """A new connection. Raises `BackendUnavailable` with place, reason and fix."""
        connected: list[socket.socket] = []
        try:
            async with asyncio.timeout(self._seconds):
                return await self._connect(connected)
        except TimeoutError:
            did = "answer in TLS" if connected else "accept the connection"
            reason = f"{self._where} did not {did} in time ({self._seconds:g} s)"
            raise BackendUnavailable(f"{reason} - {SEE_NETWORK}") from None
        except ssl.SSLError as error:
            reason = f"{self._where} {tls_reason(error)}"
            failure = BackendUnavailable(reason, status=502, permanent=True)
            failure.try_next = False
            raise failure from error
        except (socket.gaierror, UnicodeError) as error:
            reason = f"the name in {self._where} cannot be resolved"
            raise BackendUnavailable(f"{reason} - {SEE_NETWORK}") from error
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            why = os.strerror(error.errno) if error.errno else str(error)
            reason = f"{self._where} cannot be reached: {why.lower() or 'it hung up'}"
            fix = START_IT if refused else SEE_NETWORK
            raise BackendUnavailable(f"{reason} - {fix}") from error

    async def aclose(self) -> None:
        """Close every connection, whatever it is used for."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._closed = True
        self._idle.clear()
        while self._open:  # they are gone a turn of the loop after they are aborted
            for connection in self._open:
                connection.abort()
            await asyncio.sleep(0)

    async def _connect(self, made: list[socket.socket]) -> Connection:
        """A connection; its socket is in `made` as soon as it is connected."""
        connected = await _connected(self._loop, self._host, self._port)
        made.append(connected)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, connection = await self._loop.create_connection(
            partial(Connection, self._where, self._loop, self._freed, self._lost),
            sock=connected,
            ssl=self._tls,
            server_hostname=self._host if self._tls is not None else None,
        )
        if self._closed or not connection.open:  # it may be lost already, and is then never again
            connection.abort()
            raise BackendUnavailable(f"the connection to {self._where} is not open")
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
        """Close what has been idle too long; they stand in the order in which they became so."""
        self._sweep = None
        oldest = self._loop.time() - KEEP_SECONDS
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).abort()
        if self._idle:
            wait = self._idle[0].idle_since - oldest
            self._sweep = self._loop.call_later(wait, self._close_old)


def tls_reason(error: ssl.SSLError) -> str:
    """What is wrong, and what to do."""
    if error.reason in _NO_TLS:
        return "does not speak TLS - write `http://` in `base_url`, or the port that does"
    if not isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"cannot be trusted: TLS failed ({error}) - see to the server's log, and to `base_url`"
        )
    fix = _CERTIFICATE_FIXES.get(error.verify_code, _UNKNOWN_AUTHORITY)
    return f"cannot be trusted: {error.verify_message} - {fix}"


async def _connected(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket that is connected to the first address of `host` that takes it."""
    found = await _addresses(loop, host, port)
    attempts = [partial(_attempt, loop, *item) for item in found]
    if len(attempts) == 1:
        return await attempts[0]()
    winner, _, errors = await staggered_race(attempts, NEXT_ADDRESS_SECONDS)
    if winner is None:
        raise next(error for error in errors if error is not None)
    return winner


async def _attempt(loop: asyncio.AbstractEventLoop, family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await loop.sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


async def _addresses(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> list[tuple[int, Any]]:
    """Family and address of each, the families in turns."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    else:
        return [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (host, port))]
    families: dict[int, list[tuple[int, Any]]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, address))
    in_turns = chain.from_iterable(zip_longest(*families.values()))
    return [item for item in in_turns if item is not None]
