"""The plugin: routes and life of the server, and the hooks that tell who calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar

from starlette.routing import BaseRoute, Route

from plugway import (
    EventStream,
    Exchange,
    Gateway,
    MessagesRequest,
    NoOptions,
    Outcome,
    Plugin,
    Reply,
    StateKey,
    as_list,
    as_object,
    hookimpl,
)
from plugway_endpoints import CHOSEN, needs_of
from plugway_mcp._calls import Caller, Calls, NotedStream, offers_ours, our_call
from plugway_mcp._endpoint import Endpoint
from plugway_mcp._tools import Tools
from plugway_mcp._totals import Totals

PATH = "/mcp"
_OFFERED: StateKey[MessagesRequest] = StateKey("mcp.offered")
"""The request, where it offers our tools to the model."""


class Mcp(Plugin[NoOptions]):
    """Serves MCP at `/mcp`: tools to list, choose, recommend, load and explain endpoints."""

    requires: ClassVar[tuple[str, ...]] = ("switch",)
    outside: ClassVar[tuple[str, ...]] = ("tool-repair",)  # which may give calls other ids

    def __init__(self, options: NoOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.calls = Calls()
        self.totals = Totals()
        self._endpoint = Endpoint()

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """`/mcp`."""
        return [Route(PATH, self._endpoint)]

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """The server runs from start to end."""
        return self._live(gateway)

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        tools = Tools(gateway, self.calls, self.totals)
        async with self._endpoint.running(tools):
            yield

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Keeps in mind a request that offers our tools: only there their calls are looked for. A
        limited caller cannot call them, so the id of a call in its replies stands for nobody."""
        if exchange.caller.limited or exchange.endpoint != "messages":
            return
        if offers_ours(request):
            exchange.state[_OFFERED] = request

    @hookimpl
    def transform_response(self, reply: Reply, exchange: Exchange) -> None:
        """Notes calls in a whole reply."""
        if reply.body is None or reply.status != 200 or b'"tool_use"' not in reply.body:
            return
        if exchange.state.get(_OFFERED) is None:
            return
        for block in as_list(reply.parsed.get("content")):
            self._note(as_object(block), exchange)

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """A layer that notes calls, around replies to requests that offer our tools."""
        if exchange.state.get(_OFFERED) is None:
            return None
        return NotedStream(stream, lambda block: self._note(block, exchange))

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Counts."""
        self.totals.add(exchange, outcome)

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
