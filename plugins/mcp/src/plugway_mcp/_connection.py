"""One running server, with one set of folders: its session, its tools, and the calls to it.

`_mounted` decides when one is started and which tools may be called.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import anyio
from anyio.abc import TaskGroup
from mcp.client.session import ClientRequestContext, ClientSession, IncomingMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    ListRootsResult,
    ListToolsRequest,
    ListToolsResult,
    PaginatedRequestParams,
    Root,
    ToolListChangedNotification,
)
from pydantic import FileUrl, ValidationError

from plugway_log import without_secrets
from plugway_mcp._definitions import MAX_TOOLS, Definitions, read_definitions
from plugway_mcp._http import http_streams
from plugway_mcp._lines import Tail
from plugway_mcp._options import ServerOptions
from plugway_mcp._process import CannotStart, Command
from plugway_mcp._stdio import Pipes, first_of, stdio
from plugway_tools import harmless

CALLS_AT_ONCE: Final = 16
"""Most calls in a server at once; others wait."""
GRACE_SECONDS: Final = 1.0
"""Time for a server to answer a call that was cancelled, before it is ended."""
_PAGES: Final = 50

log = logging.getLogger("plugway.mcp")


class ServerFailed(Exception):
    """A server cannot be used now; the text says why."""


class CallFailed(Exception):
    """A call did not return a result; the text says why."""


class NotSent(ServerFailed):
    """The server ended before the call was sent, which may go to another process."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a connection is made of."""

    name: str
    options: ServerOptions
    roots: tuple[Path, ...]
    command: Command | None
    """None for a server with a `url`."""


class Connection:
    """A server while it runs."""

    def __init__(self, start: Start, on_listed: Callable[[Definitions], Awaitable[None]]) -> None:
        self.start = start
        self.listed: Definitions = {}
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self.retired = False
        """Whether no further calls go to it."""
        self.failure = ""
        """Why it ended by itself; empty if it was stopped."""
        self.active = 0
        """Calls in it, and those that wait for its start."""
        self.answered = False
        """Whether it has answered a call."""
        self._sent = 0
        self._on_listed = on_listed
        self._tail = Tail()
        self._pipes = Pipes(self._tail, self._list_changed)
        self._session: ClientSession | None = None
        self._places = anyio.CapacityLimiter(CALLS_AT_ONCE)
        self._wake = anyio.Event()
        self._relist = False
        self._group: TaskGroup | None = None

    @property
    def usable(self) -> bool:
        """Whether further calls may go to it."""
        pipes = self._pipes
        return not (self.retired or self.ended.is_set() or pipes.gone or pipes.ended.is_set())

    def stop(self) -> None:
        """End it."""
        self.retired = True
        if self._group is not None:
            self._group.cancel_scope.cancel()

    # ── its life ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Start it, and keep it until it ends or is stopped. Raises nothing but cancellation."""
        try:
            async with anyio.create_task_group() as self._group:
                if not self.retired:
                    await self._live()
                    self._group.cancel_scope.cancel()
        except Exception as error:
            # Whatever a foreign server provokes in the SDK ends this connection only.
            self.failure = self._pipes.broken or _reason(error)
        finally:
            self._group = None
            if not (self.failure or self.retired):
                self.failure = self._pipes.broken or "it ended"
            self.failure = self._explained(self.failure)
            self.ended.set()

    def _explained(self, failure: str) -> str:
        printed = str(self._tail)
        return f"{failure}; it printed:\n{printed}" if failure and printed else failure

    async def _live(self) -> None:
        options = self.start.options
        limit = f"it did not list its tools within {options.start_seconds:g} s"
        async with self._streams() as (read, write):
            session = ClientSession(
                read,
                write,
                list_roots_callback=self._roots if self.start.roots else None,
                message_handler=self._said,
                client_info=Implementation(name="plugway", version="0.1.0"),
            )
            async with session:
                with anyio.move_on_after(options.start_seconds) as scope:
                    await session.initialize()
                    await self._list(session)
                if scope.cancelled_caught:
                    self.failure = limit
                    return
                self._session = session
                self.ready.set()
                await self._attend(session)

    @asynccontextmanager
    async def _streams(self) -> AsyncGenerator[Any]:
        """Not open while the limit for the start is: ending a child takes a moment."""
        if self.start.command is None:
            async with http_streams(self.start.options) as streams:
                yield streams
        else:
            async with stdio(self.start.command, self._pipes) as streams:
                yield streams

    async def _attend(self, session: ClientSession) -> None:
        """Until it is idle for too long or its output ends; meanwhile list changed tools again."""
        idle = self.start.options.idle_seconds
        since = anyio.current_time()
        async with anyio.create_task_group() as group:

            async def ended() -> None:
                await self._pipes.ended.wait()
                group.cancel_scope.cancel()

            group.start_soon(ended)
            while True:
                with anyio.move_on_after(max(0.0, since + idle - anyio.current_time())) as waited:
                    await self._wake.wait()
                self._wake = anyio.Event()
                if self._relist:
                    self._relist = False
                    await self._list(session)
                    await anyio.sleep(GRACE_SECONDS)  # it may say so again and again
                elif waited.cancelled_caught and not self.active:
                    self.retired = True
                    group.cancel_scope.cancel()
                    return
                since = anyio.current_time()

    async def _list(self, session: ClientSession) -> None:
        tools: list[Mapping[str, Any]] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            request = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor))
            page = await session.send_request(
                request, ListToolsResult, self.start.options.start_seconds
            )
            tools += [
                tool.model_dump(by_alias=True, mode="json", exclude_none=True)
                for tool in page.tools[: MAX_TOOLS + 1]
            ]
            cursor = page.next_cursor
            if cursor is None or len(tools) > MAX_TOOLS:
                break
        self.listed, flaws = read_definitions(tools)
        for flaw in flaws[:20]:
            log.warning("server `%s`: %s", self.start.name, harmless(flaw))
        await self._on_listed(self.listed)

    async def _said(self, message: IncomingMessage) -> None:
        """A notification of a server with a `url`; of others, the transport passes none."""
        if isinstance(message, ToolListChangedNotification):
            self._list_changed()

    def _list_changed(self) -> None:
        self._relist = True
        self._wake.set()

    async def _roots(self, context: ClientRequestContext) -> ListRootsResult:
        roots = [Root(uri=FileUrl(p.as_uri()), name=p.name or None) for p in self.start.roots]
        return ListRootsResult(roots=roots)

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    async def started(self) -> None:
        """Wait until it is ready; if nobody waits any longer, end it. Raises `ServerFailed`."""
        if self.ready.is_set() and not self.ended.is_set():
            return
        self.active += 1
        try:
            await first_of(self.ready, self.ended)
        finally:
            self.active -= 1
            if not (self.active or self.ready.is_set()):
                self.stop()
        if not self.ready.is_set():
            raise ServerFailed(self.failure or "it was stopped")

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call a tool; raises `CallFailed` and `NotSent`.

        A call that is cancelled or takes too long is cancelled in the server, too; if that does not
        answer, it is ended.
        """
        session, group = self._session, self._group
        if session is None or group is None:
            raise NotSent("it has ended")
        seconds = self.start.options.timeout_seconds
        self.active += 1
        answered = False
        try:
            with anyio.move_on_after(seconds):
                result = await self._asked(session, tool, arguments)
                self.answered = answered = True
                return result
            raise CallFailed(
                f"the server did not answer within {seconds:g} s; the call was cancelled"
            )
        except MCPError as error:
            if self._pipes.ended.is_set() or error.code == CONNECTION_CLOSED:
                raise await self._lost() from None
            answered = True
            said = without_secrets(harmless(error.message))[:1000]
            raise CallFailed(f"the server refused the call: {said}") from None
        except NotSent:
            answered = True
            raise
        except ValidationError:
            answered = True
            raise CallFailed("the server sent a result that is not valid MCP") from None
        except (RuntimeError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise await self._lost() from None
        finally:
            self.active -= 1
            self._wake.set()
            self._after(answered=answered, group=group)

    async def _asked(
        self, session: ClientSession, tool: str, arguments: Mapping[str, Any]
    ) -> CallToolResult:
        params = CallToolRequestParams(name=tool, arguments=dict(arguments))
        async with self._places:
            if not self.usable:
                raise NotSent("it has ended")
            self._sent += 1
            try:
                return await session.send_request(CallToolRequest(params=params), CallToolResult)
            finally:
                self._sent -= 1

    async def _lost(self) -> CallFailed:
        with anyio.move_on_after(5):
            await self.ended.wait()
        return CallFailed(
            "the server ended during the call, which may have taken effect: "
            f"{self.failure or self._pipes.broken or 'it was stopped'}"
        )

    def _after(self, *, answered: bool, group: TaskGroup) -> None:
        if self.retired and not self.active:
            self.stop()
        elif (
            not answered and self.start.command is not None and not group.cancel_scope.cancel_called
        ):
            group.start_soon(self._abandoned)

    async def _abandoned(self) -> None:
        """A call was given up. A server that goes on with it gets no further calls, and is ended
        after those that are in it."""
        await anyio.sleep(GRACE_SECONDS)
        if len(self._pipes.pending) > self._sent:
            log.info("server `%s` does not answer a cancelled call and is ended", self.start.name)
            self.retired = True
            if not self.active:
                self.stop()


def _reason(error: BaseException) -> str:
    """What went wrong, from inside groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, CannotStart):
        return str(error)
    if isinstance(error, ValidationError):
        return "it does not speak MCP: its answer to the first request is invalid"
    said = harmless(without_secrets(str(error)), 1000) or "no reason given"
    return f"{said} ({type(error).__name__})"
