"""The plugin: routes and lifetime of the server, and the hooks that identify callers."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar

from starlette.routing import BaseRoute, Route

from plugway import (
    EventStream,
    Exchange,
    Gateway,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    StateKey,
    as_list,
    as_object,
    hookimpl,
)
from plugway_endpoints import CHOSEN, needs_of
from plugway_log import holds_secret
from plugway_mcp._calls import TOOLS, Caller, Calls, NotedStream, offers_ours, our_call
from plugway_mcp._definitions import Store, difference
from plugway_mcp._endpoint import Endpoint
from plugway_mcp._lazy import LazyMounts
from plugway_mcp._options import McpOptions, plain
from plugway_mcp._others import Others
from plugway_mcp._tools import Tools
from plugway_mcp._totals import Totals
from plugway_tools import HoldsTools, ToolCall, ToolResult, ToolSpec, failed

Flaw = tuple[tuple[str | int, ...], str]
PATH = "/mcp"
_OFFERED: StateKey[MessagesRequest] = StateKey("mcp.offered")
"""The request, where it offers our tools to the model."""
_RUN: StateKey[frozenset[str]] = StateKey("mcp.run")
"""Ids of the calls of this exchange that were run."""
_SECRET = re.compile("auth|cookie|key|password|secret|token", re.IGNORECASE)
"""Names of variables and headers whose values are keys."""


class Mcp(Plugin[McpOptions]):
    """Serves MCP at `/mcp`: tools about endpoints, and those of mounted MCP servers."""

    outside: ClassVar[tuple[str, ...]] = ("tool-repair",)  # which may change the ids of calls

    def __init__(self, options: McpOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.calls = Calls()
        self.totals = Totals()
        self._endpoint = Endpoint()
        self._mounted = LazyMounts(options.servers, TOOLS)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Warn of keys in plain text, and of servers whose tools the user has to look at."""
        for name, options in self.options.servers.items():
            for kind, values in (("env", options.env), ("headers", options.headers)):
                for key, value in values.items():
                    text = plain(value)
                    if _SECRET.search(key) and text and not holds_secret(text):
                        self.log.warning(
                            "`servers.%s.%s.%s` seems to be a key in plain text: use `{$env: NAME}`"
                            " or `{$keyring: NAME}`",
                            *(name, kind, key),
                        )
            store = Store()
            accepted, waiting = store.accepted(name), store.waiting(name)
            if accepted is not None and waiting is not None:
                self.log.warning(
                    "server `%s` describes other tools than you have seen: %s; they are not "
                    "offered. Run `plugway mcp accept %s`",
                    *(name, difference(accepted, waiting).text, name),
                )
        return ()

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """`/mcp`."""
        return [Route(PATH, self._endpoint)]

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """The server runs while the gateway does."""
        return self._live(gateway)

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        tools = Tools(gateway, self.calls, self.totals)
        others = Others([held for _, held in gateway.find(HoldsTools) if held is not self])
        async with self._mounted.running(), self._endpoint.running(tools, self._mounted, others):
            yield

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Remember a request that offers our tools: only its reply is searched for calls. A limited
        caller cannot call them, so ids in its replies are ignored."""
        if exchange.caller.limited or exchange.endpoint != "messages":
            return
        if offers_ours(request):
            exchange.state[_OFFERED] = request

    @hookimpl
    def transform_response(self, reply: Reply, exchange: Exchange) -> None:
        """Record calls in a whole reply."""
        if reply.body is None or reply.status != 200 or b'"tool_use"' not in reply.body:
            return
        if exchange.state.get(_OFFERED) is None:
            return
        for block in as_list(reply.parsed.get("content")):
            self._note(as_object(block), exchange)

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """Record calls in streamed replies to requests that offer our tools."""
        if exchange.state.get(_OFFERED) is None:
            return None
        return NotedStream(stream, lambda block: self._note(block, exchange))

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Counts."""
        self.totals.add(exchange, outcome)

    # ── for other plugins: `plugway_tools.HoldsTools` ────────────────────────────────────────

    @property
    def processes(self) -> int:
        """How many processes of servers run."""
        mounts = self._mounted.mounts
        return sum(pool.processes for pool in mounts.pools.values()) if mounts is not None else 0

    async def tools(self) -> Sequence[ToolSpec]:
        """The tools of mounted servers that the configuration allows, and that the user has seen
        as they are. Servers that take too long or fail again and again are left out."""
        mounts = await self._mounted.get()
        return await mounts.tools() if mounts is not None else ()

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Call a tool of a mounted server. Every failure is a result."""
        mounts = await self._mounted.get()
        if mounts is None:
            return failed("No MCP servers are mounted.")
        state = call.exchange.state
        run = state.get(_RUN, frozenset()) or frozenset()
        if call.id in run:
            return failed("This call was run already; its outcome is in the conversation.")
        state[_RUN] = run | {call.id}
        caller = call.exchange.caller.name
        return await mounts.run(call.name, call.arguments, roots=call.roots, caller=caller)

    def _note(self, block: Mapping[str, Any], exchange: Exchange) -> None:
        id_ = our_call(block)
        request, served = exchange.state.get(_OFFERED), exchange.served_by
        if id_ is None or request is None or served is None:
            return
        session = exchange.session_id
        caller = Caller(
            session=session if session and len(session) <= 200 else None,
            agent=exchange.agent_id or "",
            model=exchange.model_asked,
            target=served.target,
            zone=served.backend.zone,
            needs=needs_of(request),
            chosen=exchange.state.get(CHOSEN) is True,
        )
        self.calls.add(id_, caller)
