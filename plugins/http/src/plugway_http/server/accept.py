"""Accepts connections while there are free files and memory for them.

asyncio's own server has no such limit: it accepts the whole backlog at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from plugway_http.pressure import Pressure

MOST_AT_ONCE: Final = 16
"""Connections accepted in one iteration of the loop."""
PAUSE_SECONDS: Final = 0.05
"""Time between checks whether connections can be accepted again."""
CALM_SECONDS: Final = 10.0
"""Time without a waiting connection after which the log reports the end of the pause."""

HANDSHAKE_GRACE_SECONDS: Final = 1.0
"""How long `settled` waits for clients that are in their TLS handshake."""
_TLS_HANDSHAKE: Final = b"\x16"
"""The first byte of a TLS connection (RFC 8446, 5.1)."""

_WITHOUT_READERS: Final[Any] = getattr(asyncio, "ProactorEventLoop", ())
"""The event loop of Windows, which has no `add_reader`."""

log = logging.getLogger("plugway.server")


@dataclass(frozen=True, slots=True)
class TlsAccept:
    """How to accept connections with TLS."""

    context: ssl.SSLContext
    handshake_seconds: float
    """Time limit for the handshake."""
    shutdown_seconds: float
    """Time limit for sending what is left and closing."""

    @property
    def options(self) -> dict[str, Any]:
        """The arguments for the event loop."""
        return {
            "ssl": self.context,
            "ssl_handshake_timeout": self.handshake_seconds,
            "ssl_shutdown_timeout": self.shutdown_seconds,
        }


class Acceptor:
    """Accepts connections on a listening socket."""

    def __init__(
        self,
        sock: socket.socket,
        pressure: Pressure,
        open_ones: set[Any],
        tls: TlsAccept | None = None,
    ) -> None:
        """`open_ones` are the protocols of open connections: each is added here, and removes
        itself when its connection is lost."""
        self._sock = sock
        self._tls = tls
        self._pressure = pressure
        self._open = open_ones
        self._accepting = False
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Task[asyncio.Server] | None = None
        """asyncio's own server, used on Windows, which has no limit on open files."""
        self._resume_timer: asyncio.TimerHandle | None = None
        self._paused_at: float | None = None
        """When connections last had to wait; None once the log has reported the end."""

    def start(
        self,
        protocol: Callable[[], asyncio.Protocol],
        without_tls: Callable[[], asyncio.Protocol] | None = None,
    ) -> None:
        """Start accepting connections; `protocol` makes a new one for each. `without_tls` makes
        one for a client that speaks plain HTTP where TLS is expected."""
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._without_tls = without_tls or protocol
        self.update()
        self._accept_more()

    def stop(self) -> None:
        """Stop accepting; new connections wait in the backlog."""
        if self._resume_timer is not None:
            self._resume_timer.cancel()
            self._resume_timer = None
        if self._server is not None:
            if self._server.done():
                self._server.result().close()
            self._server.cancel()
            self._server = None
        elif self._accepting:
            self._loop.remove_reader(self._sock)
        self._accepting = False

    async def settled(self) -> None:
        """Wait until all accepted connections have their transport, or are dropped because their
        handshake takes too long."""
        if self._connecting:
            _, late = await asyncio.wait(self._connecting, timeout=HANDSHAKE_GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def update(self) -> None:
        """Measure open files and memory; call this every second."""
        self._pressure.update(len(self._open))
        if not self._accepting:
            return
        if not self._has_room():
            self._pause()
        elif self._paused_at is not None and self._paused_at < self._loop.time() - CALM_SECONDS:
            self._paused_at = None
            log.warning("new connections no longer wait")

    def _has_room(self) -> bool:
        return self._pressure.has_room(len(self._open))

    def _accept_more(self) -> None:
        if not self._has_room():
            self._pause()
        elif not self._accepting:
            self._accepting = True
            if isinstance(self._loop, _WITHOUT_READERS):
                options: dict[str, Any] = self._tls.options if self._tls else {}
                serving = self._loop.create_server(self._protocol, sock=self._sock, **options)
                self._server = self._loop.create_task(serving)
            else:
                self._loop.add_reader(self._sock, self._accept)

    def _pause(self, why: str = "") -> None:
        self.stop()
        self._resume_timer = self._loop.call_later(PAUSE_SECONDS, self._accept_more)
        if self._paused_at is None:
            log.warning(
                "new connections wait until files or memory are free again, with %d open%s; "
                "`ulimit -n` shows the limit on open files",
                len(self._open),
                why,
            )
        self._paused_at = self._loop.time()

    def _accept(self) -> None:
        for _ in range(MOST_AT_ONCE):
            if not self._has_room():
                self._pause()
                return
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors
                self._pause(f": {error}")
                return
            connection = self._protocol()
            self._open.add(connection)
            task = self._loop.create_task(self._connect(accepted, connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket, connection: asyncio.Protocol) -> None:
        accepted.setblocking(False)
        options: dict[str, Any] = {}
        try:
            if self._tls is not None:
                if await self._first_byte(accepted, self._tls.handshake_seconds) == _TLS_HANDSHAKE:
                    options = self._tls.options
                else:
                    self._open.discard(connection)
                    connection = self._without_tls()
                    self._open.add(connection)
            await self._loop.connect_accepted_socket(lambda: connection, accepted, **options)
        except BaseException as error:
            self._open.discard(connection)
            accepted.close()
            if not isinstance(error, OSError):
                raise
            log.debug("a new connection was lost: %s", error)

    async def _first_byte(self, accepted: socket.socket, seconds: float) -> bytes:
        """The first byte that a client sends; it is not consumed. Raises `OSError`."""
        arrived = asyncio.Event()
        self._loop.add_reader(accepted, arrived.set)
        try:
            async with asyncio.timeout(seconds):
                await arrived.wait()
        finally:
            self._loop.remove_reader(accepted)
        return accepted.recv(1, socket.MSG_PEEK)
