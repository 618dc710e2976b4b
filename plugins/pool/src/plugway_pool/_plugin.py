"""The plugin: registers the pool, keeps its list of servers, and learns how exchanges end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from plugway import (
    Attempt,
    Backend,
    BackendError,
    Exchange,
    Gateway,
    Headers,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    Send,
    StreamInterrupted,
    hookimpl,
)
from plugway_anthropic_wire import EndpointPlugin
from plugway_endpoints import TargetHealth
from plugway_pool._addresses import Addresses, DnsAddresses, FileAddresses, FixedAddresses
from plugway_pool._backend import (
    ChatPool,
    EngineMessagesPool,
    MessagesPool,
    PoolBackend,
    described,
)
from plugway_pool._conversation import parent_of
from plugway_pool._members import Members
from plugway_pool._options import Kind, PoolOptions
from plugway_pool._server import Server

_BACKENDS: Final[dict[Kind, type[PoolBackend]]] = {
    "vllm": EngineMessagesPool,
    "llama-server": EngineMessagesPool,
    "messages": MessagesPool,
    "sglang": ChatPool,
    "chat": ChatPool,
}


class Pool(Plugin[PoolOptions]):
    """Registers many equal servers as one backend."""

    def __init__(self, options: PoolOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        first = options.first_addresses
        members = [options.member(address, self.name, "local") for address in first]
        here = all(member.backend.upstream.loopback for member in members)
        zone = options.zone or ("local" if here else self.name)
        local = options.zone is None and here
        self.backend = _BACKENDS[options.kind](
            self.name,
            zone,
            Members(self._addresses(), self._server, self.log, local=local),
            options.member(first[0], self.name, zone),
            f"at all addresses of {options.dns}" if options.dns else described(first),
        )

    def _addresses(self) -> Addresses:
        options = self.options
        if options.file:
            return FileAddresses(options.file, self.log, with_key=options.api_key is not None)
        return DnsAddresses(options.dns, self.log) if options.dns else FixedAddresses()

    def _server(self, address: str) -> Server:
        zone = self.backend.zone
        member = self.options.member(address, self.name, zone)
        if self.options.session_header or self.options.parent_session_header:
            member.backend.attempt_lines = self._session_lines
        return Server(address, member, self.options, zone, self.log)

    def _session_lines(self, attempt: Attempt) -> Headers:
        """The headers with hashes of the conversation's id, as configured."""
        lines: list[tuple[str, str]] = []
        exchange = attempt.exchange
        key = self.backend.key_of(exchange)
        if self.options.session_header and key is not None:
            lines.append((self.options.session_header, key.hex()))
        parent = parent_of(exchange)
        if self.options.parent_session_header and parent is not None:
            lines.append((self.options.parent_session_header, parent.hex()))
        return tuple(lines)

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """Return the pool under this instance's name."""
        return [self.backend]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Open the servers, and follow the list of them."""
        members = self.backend.members
        following: asyncio.Task[None] | None = None
        try:
            await members.update(await members.addresses.read() or self._known_at_start())
            if gateway.predecessor is not None:
                for name, before in gateway.predecessor.find(Pool):
                    if name == self.name:
                        members.inherit(before.backend.members)
            if self.options.dns or self.options.file:
                following = asyncio.create_task(members.follow(self.options.refresh_seconds))
            yield
        finally:
            if following is not None:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
            await members.close()

    def _known_at_start(self) -> Sequence[str]:
        """The addresses of the configuration; a name that does not resolve is no server."""
        return () if self.options.dns else self.options.first_addresses

    @hookimpl
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Adapt the request as the server's own plugin does."""
        if attempt.backend is not self.backend:
            return None
        member = self.backend.backend_for(request, attempt)
        if not isinstance(member, EndpointPlugin):
            return None
        return await member.prepare_attempt(
            request, attempt.replace(backend=member.backend), exchange
        )

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Try another server if the reply of the first one breaks before content."""
        if attempt.backend is not self.backend:
            return await send(request, attempt)
        try:
            reply = await send(request, attempt)
        except BackendError as failure:
            if not self.backend.broken(exchange, failure):
                raise
            reply = await send(request, attempt)
        if (server := self.backend.visited(exchange)) is not None:
            server.served(time.monotonic())
        return reply

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Learn from a reply that broke after content."""
        server = self.backend.visited(exchange)
        by = exchange.served_by
        if server is None or by is None or by.backend is not self.backend:
            return
        if outcome.kind == "failed":
            server.failed(time.monotonic(), StreamInterrupted("its last reply broke off"))

    # ── `TellsHealth` ────────────────────────────────────────────────────────────────────────

    def health(self) -> Sequence[TargetHealth]:
        """The servers that fail or leave; see `plugway_endpoints.TellsHealth`."""
        now = time.monotonic()
        found: list[TargetHealth] = []
        for server in self.backend.members.servers:
            target, health = f"{self.name} ({server.address})", server.health
            if server.draining:
                reason = f"it left the list, and still serves {server.running} requests"
                found.append(TargetHealth(target, "skipped", reason))
            elif health.ejected_until is not None:
                left = max(0.0, health.ejected_until - now)
                state = "skipped" if left else "probing"
                found.append(TargetHealth(target, state, health.reason, left))
            elif health.failures:
                found.append(TargetHealth(target, "failing", health.reason))
        return found
