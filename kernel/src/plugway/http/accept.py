"""The door: connections are accepted while there are files and memory for them.

The loop's own server takes as many as wait before any of them is looked at.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from plugway.exchange.pressure import Pressure

MOST_AT_ONCE: Final = 16
"""Connections that are accepted before the loop goes on."""
PAUSE_SECONDS: Final = 0.05
"""How long it is before it is looked whether connections can be accepted again."""
CALM_SECONDS: Final = 10.0
"""How long none may have been left waiting before the log says that this is over."""

_WATCHES_NO_SOCKET: Final[Any] = getattr(asyncio, "ProactorEventLoop", ())
"""The loop of Windows."""

log = logging.getLogger("plugway.server")


class Acceptor:
    """Accepts what comes to a listening socket."""

    def __init__(self, sock: socket.socket, pressure: Pressure, open_ones: set[Any]) -> None:
        """`open_ones` are the protocols of the connections: each is added here and removed by
        itself when its connection is lost."""
        self._sock = sock
        self._pressure = pressure
        self._open = open_ones
        self._accepting = False
        self._coming: set[asyncio.Task[None]] = set()
        self._server: asyncio.Task[asyncio.Server] | None = None
        """The loop's own, where the loop cannot watch a socket: on Windows, which has no limit on
        files to wait for."""
        self._again: asyncio.TimerHandle | None = None
        self._paused_at: float | None = None
        """When connections were last left waiting, until the log says that this is over."""

    def start(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections from now on, each with a `protocol` of its own."""
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self.look()
        self._accept_more()

    def stop(self) -> None:
        """Leave those that come waiting."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._server is not None:
            if self._server.done():
                self._server.result().close()
            self._server.cancel()
            self._server = None
        elif self._accepting:
            self._loop.remove_reader(self._sock)
        self._accepting = False

    async def settled(self) -> None:
        """Wait, for a turn of the loop, until those that are accepted have their transport."""
        if self._coming:
            await asyncio.wait(self._coming)

    def look(self) -> None:
        """See how many files and how much memory there are: to be called every second."""
        self._pressure.look(len(self._open))
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
            if isinstance(self._loop, _WATCHES_NO_SOCKET):
                serving = self._loop.create_server(self._protocol, sock=self._sock)
                self._server = self._loop.create_task(serving)
            else:
                self._loop.add_reader(self._sock, self._accept)

    def _pause(self, why: str = "") -> None:
        self.stop()
        self._again = self._loop.call_later(PAUSE_SECONDS, self._accept_more)
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
            except OSError as error:  # the last file has just gone
                self._pause(f": {error}")
                return
            connection = self._protocol()
            self._open.add(connection)
            task = self._loop.create_task(self._take(accepted, connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _take(self, accepted: socket.socket, connection: asyncio.Protocol) -> None:
        accepted.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            self._open.discard(connection)
            accepted.close()
            log.debug("a new connection was lost: %s", error)
