"""The ASGI application at `/mcp`: requests that it rejects itself, and the lifetime of the server.

It keeps no sessions and no streams, so each request stands alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugway_mcp._lazy import LazyMounts
from plugway_mcp._others import Others
from plugway_mcp._tools import Tools

CALL_SECONDS: Final = 120.0


class Endpoint:
    """Answers while the gateway runs. The SDK is imported with the first request."""

    def __init__(self) -> None:
        self._tools: Tools | None = None
        self._mounts: LazyMounts | None = None
        self._others: Others | None = None
        self._group: anyio.abc.TaskGroup | None = None
        self._server: ASGIApp | None = None
        self._starting = anyio.Lock()

    @asynccontextmanager
    async def running(
        self, tools: Tools, mounts: LazyMounts | None = None, others: Others | None = None
    ) -> AsyncGenerator[None]:
        """Serve `tools`, and those of mounted servers and other plugins."""
        async with anyio.create_task_group() as group:
            self._group, self._starting = group, anyio.Lock()
            self._tools, self._mounts, self._others = tools, mounts, others
            try:
                yield
            finally:
                self._group = self._tools = self._mounts = self._others = self._server = None
                group.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["method"] != "POST":
            message = "this server has no streams and no sessions: use POST"
            await _refuse(405, message, {"allow": "POST"})(scope, receive, send)
        elif any(name == b"mcp-session-id" for name, _ in scope["headers"]):
            await _refuse(404, "unknown session")(scope, receive, send)
        elif (server := await self._started()) is None:
            await _refuse(503, "the gateway is shutting down")(scope, receive, send)
        else:
            await _in_time(server, scope, receive, send)

    async def _started(self) -> ASGIApp | None:
        if self._server is None:
            async with self._starting:
                if self._server is None and self._group is not None:
                    module = await anyio.to_thread.run_sync(import_module, "plugway_mcp._server")
                    self._server = await self._group.start(
                        module.serve, self._tools, self._mounts, self._others
                    )
        return self._server


async def _in_time(server: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    begun = False

    async def noted(message: Message) -> None:
        nonlocal begun
        begun = True
        await send(message)

    with anyio.move_on_after(CALL_SECONDS) as limit:
        await _while_there(server, scope, receive, noted)
    if limit.cancelled_caught and not begun:
        await _refuse(408, f"timed out after {CALL_SECONDS:.0f} s")(scope, receive, send)


async def _while_there(server: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request until its client leaves, which the SDK does not notice."""
    read, left = anyio.Event(), anyio.Event()

    async def heard() -> Message:
        if read.is_set():
            await left.wait()
            return {"type": "http.disconnect"}
        message = await receive()
        if not message.get("more_body"):
            read.set()
        return message

    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await read.wait()
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        await server(scope, heard, send)
        group.cancel_scope.cancel()


def _refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": message}}
    return JSONResponse(error, status, dict(headers or {}))
