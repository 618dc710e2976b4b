"""The lifecycle of the server: bind, announce, serve, reload, drain, exit.

`server/protocol` parses bytes into requests.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import ServerState

from plugway_http.certificate import CertificateError, CertificateFiles
from plugway_http.pressure import Pressure
from plugway_http.server.accept import Acceptor, TlsAccept
from plugway_http.server.bind import BindError, bind
from plugway_http.server.loop import ContinuingLoop, surviving_exit
from plugway_http.server.protocol import GatewayProtocol
from plugway_http.server.renewal import RenewedCertificate
from plugway_http.server.watch import Watchdog, watch_file
from plugway_http.system import RELOAD, disable_core_dumps, event_loop, signals, tune_malloc
from plugway_http.wire import RenderError, WireLimits, plain_error
from plugway_log import Recorded

EXIT_NOT_STARTED = 3
CUT_SECONDS = 1.5
"""Time that aborted exchanges get to clean up, and then the application."""
HURRY_SECONDS = 0.3
"""The same time after a second signal."""

log = logging.getLogger("plugway.server")

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application."""


class StartFailed(Recorded):
    """The application failed to start; the reason is in the log."""


class Server:
    """Serves an application on a listening socket until `stop()`."""

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        *,
        drain_seconds: float = 28,
        keep_alive_seconds: int = 75,
        limits: WireLimits | None = None,
        on_reload: Callable[[], Awaitable[None]] | None = None,
        on_draining: Callable[[], None] | None = None,
        watch: Path | None = None,
        certificate: RenewedCertificate | None = None,
        pressure: Pressure | None = None,
        render_error: RenderError = plain_error,
    ) -> None:
        """With a `certificate` it serves HTTPS."""
        self.port: int = sock.getsockname()[1]
        self.started = anyio.Event()
        """Set once requests are served."""
        self._sock = sock
        self._drain_seconds = drain_seconds
        self._on_reload = on_reload
        self._on_draining = on_draining
        self._watch = watch
        self._stopping = anyio.Event()
        self._hurried = anyio.Event()
        self._reload_wanted = anyio.Event()
        self._limits = limits or WireLimits()
        self._shared = ServerState()
        self._render_error = render_error
        self._certificate = certificate
        tls = certificate and TlsAccept(
            certificate.context, self._limits.head_seconds, self._limits.stall_seconds
        )
        self._acceptor = Acceptor(sock, pressure or Pressure(), self._shared.connections, tls)
        self._config = Config(
            cast("Any", app),
            interface="asgi3",
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # the peer address is never taken from a header
            timeout_keep_alive=keep_alive_seconds,
        )

    def stop(self) -> None:
        """Drain, then abort what is left; a second call aborts at once."""
        if self._stopping.is_set():
            self._hurried.set()
        self._stopping.set()

    def reload(self) -> None:
        """Schedule a call of `on_reload`; requests made while it runs share one more call."""
        self._reload_wanted.set()
        if self._certificate is not None:
            self._certificate.check()

    async def serve(self) -> None:
        """Serve until `stop()`; raises `StartFailed`."""
        self._config.load()
        lifespan = LifespanOn(self._config)
        try:
            await lifespan.startup()
            if lifespan.should_exit:
                raise StartFailed("the application failed to start; see the log")
            loop, state = asyncio.get_running_loop(), lifespan.state
            self._set_date()
            protocol = partial(
                GatewayProtocol,
                self._config,
                self._shared,
                state,
                loop,
                limits=self._limits,
                render_error=self._render_error,
            )
            self._acceptor.start(protocol, partial(protocol, app=self._refuse_plain_http))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._every_second)
                if self._certificate is not None:
                    tasks.start_soon(self._certificate.run)
                if self._on_reload is not None:
                    tasks.start_soon(self._reloading, self._on_reload)
                    if self._watch is not None:
                        tasks.start_soon(watch_file, self._watch, self.reload)
                self.started.set()
                await self._stopping.wait()
                if self._on_draining is not None:
                    self._on_draining()
                self._acceptor.stop()
                self._sock.close()
                await self._drain()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(lifespan)

    async def _refuse_plain_http(self, scope: Any, receive: Any, send: Any) -> None:
        reason = f"port {self.port} speaks HTTPS: use an address that starts with https://"
        headers, body = self._render_error(400, reason)
        lines = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": 400, "headers": lines})
        await send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        await self._acceptor.settled()
        for connection in list(self._shared.connections):
            connection.shutdown()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_hurried, tasks.cancel_scope)
            await self._until_idle(self._drain_seconds)
            tasks.cancel_scope.cancel()

    async def _cancel_when_hurried(self, scope: anyio.CancelScope) -> None:
        await self._hurried.wait()
        scope.cancel()

    async def _end(self, lifespan: LifespanOn) -> None:
        """Abort what is left; give it, then the application, a bounded time to clean up."""
        self._acceptor.stop()
        self._sock.close()
        await self._acceptor.settled()
        if self._shared.tasks:
            log.warning("aborting %d unfinished exchanges", len(self._shared.tasks))
        for connection in list(self._shared.connections):
            cast("GatewayProtocol", connection).cut()
        seconds = HURRY_SECONDS if self._hurried.is_set() else CUT_SECONDS
        await self._until_idle(seconds)
        for task in list(self._shared.tasks):
            task.cancel("the server is shutting down")
        await self._until_idle(HURRY_SECONDS)
        with anyio.move_on_after(seconds):
            await lifespan.shutdown()

    async def _until_idle(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            # A task that is cancelled before its first step remains in the set.
            while self._shared.connections or not all(t.done() for t in self._shared.tasks):  # noqa: ASYNC110
                await anyio.sleep(0.01)

    def _set_date(self) -> None:
        self._shared.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]

    async def _every_second(self) -> None:
        while True:
            await anyio.sleep(1)
            self._set_date()
            self._acceptor.update()

    async def _reloading(self, on_reload: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted = anyio.Event()
            try:
                await on_reload()
            except Exception as error:  # a broken new config must not stop the old one
                log.warning("kept the old config because %s", error)
            else:
                log.info("the config was reloaded")


@asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    drain_seconds: float = 1,
    keep_alive_seconds: int = 75,
    limits: WireLimits | None = None,
    certificate: CertificateFiles | None = None,
    pressure: Pressure | None = None,
    render_error: RenderError = plain_error,
) -> AsyncGenerator[int]:
    """Serve in the running loop for the duration of the block; yields the port."""
    server = Server(
        app,
        bind(host, port),
        drain_seconds=drain_seconds,
        keep_alive_seconds=keep_alive_seconds,
        limits=limits,
        certificate=RenewedCertificate(certificate) if certificate else None,
        pressure=pressure,
        render_error=render_error,
    )
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await server.started.wait()
        try:
            yield server.port
        except Exception as error:  # raised below, outside of the task group
            failure = error
        server.stop()
    if failure is not None:
        raise failure


async def _no_announcement(port: int) -> None:
    pass


def run(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    drain_seconds: float = 28,
    limits: WireLimits | None = None,
    on_reload: Callable[[], Awaitable[None]] | None = None,
    on_draining: Callable[[], None] | None = None,
    watch: Path | None = None,
    certificate: CertificateFiles | None = None,
    announce: Callable[[int], Awaitable[None]] = _no_announcement,
    pressure: Pressure | None = None,
    render_error: RenderError = plain_error,
) -> int:
    """Serve until a signal stops it. `announce` gets the bound port; returns the exit status."""
    disable_core_dumps()
    tune_malloc()
    try:
        renewed = RenewedCertificate(certificate) if certificate else None
        sock = bind(host, port)
    except (BindError, CertificateError) as error:
        print(error, file=sys.stderr)
        return EXIT_NOT_STARTED
    server = Server(
        app,
        sock,
        drain_seconds=drain_seconds,
        limits=limits,
        on_reload=on_reload,
        on_draining=on_draining,
        watch=watch,
        certificate=renewed,
        pressure=pressure,
        render_error=render_error,
    )
    status = 0
    try:
        loop = type("GatewayLoop", (ContinuingLoop, event_loop()), {})
        options = {"loop_factory": loop}
        anyio.run(_main, server, announce, drain_seconds, backend_options=options)
    except* StartFailed as failed:
        print(failed.exceptions[0], file=sys.stderr)
        status = EXIT_NOT_STARTED
    return status


async def _main(
    server: Server, announce: Callable[[int], Awaitable[None]], drain_seconds: float
) -> None:
    # Loaded modules live for ever; scanning them in every collection would take 8 % of all time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    loop = asyncio.get_running_loop()
    watchdog = Watchdog(loop)
    watchdog.start()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_obey_signals, server, drain_seconds)
            tasks.start_soon(_announce, server, announce)
            with surviving_exit(loop):
                await server.serve()
            tasks.cancel_scope.cancel()
    finally:
        watchdog.stop()


async def _announce(server: Server, announce: Callable[[int], Awaitable[None]]) -> None:
    await server.started.wait()
    await announce(server.port)


async def _obey_signals(server: Server, drain_seconds: float) -> None:
    with signals() as arrived:
        limit = drain_seconds + 4
        while True:
            if await arrived.get() == RELOAD:
                server.reload()
                continue
            server.stop()
            # A hanging thread or a blocked loop must not keep the process alive.
            last_resort = threading.Timer(limit, os._exit, (1,))
            last_resort.daemon = True
            last_resort.start()
            limit = 1.0
