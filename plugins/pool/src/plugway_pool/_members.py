"""The servers of a pool now, and which of them serves a conversation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from plugway import Bounded, PlugwayError, Upstream
from plugway_pool._addresses import Addresses
from plugway_pool._choice import chosen
from plugway_pool._server import Server

REMEMBERED: Final = 20_000
"""Conversations of which the server is remembered; others are found again by hashing."""
DRAIN_SECONDS: Final = 3600.0
"""How long a server that left the list may still serve its last requests."""


class Members:
    """The servers, kept up to date with the list of addresses."""

    def __init__(
        self,
        addresses: Addresses,
        make: Callable[[str], Server],
        log: logging.Logger,
        *,
        local: bool,
    ) -> None:
        """With `local`, only servers on this machine are added: the pool's zone says so."""
        self.addresses = addresses
        self._make = make
        self._log = log
        self._local = local
        self._servers: dict[str, Server] = {}
        self._refused: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self.places: Bounded[bytes, str] = Bounded(REMEMBERED)
        """The address that served each conversation last."""

    @property
    def servers(self) -> Sequence[Server]:
        """All servers, those that are being drained included."""
        return tuple(self._servers.values())

    @property
    def active(self) -> Sequence[Server]:
        """The servers in the list."""
        return tuple(s for s in self._servers.values() if not s.draining)

    # ── choice ───────────────────────────────────────────────────────────────────────────────

    def choose(self, key: bytes, model: str, avoid: Sequence[Server] = ()) -> Server | None:
        """The server for a conversation's next request; None if all are in `avoid`.

        Ejected servers are used only if there are no others: the last one is never skipped.
        """
        able = [server for server in self.active if server not in avoid]
        able = [server for server in able if model in server.listed] or able
        able = [server for server in able if server.health.available] or able
        return chosen(key, able, self.places.get(key), time.monotonic())

    def place(self, key: bytes, server: Server) -> str:
        """Remember where a conversation is served; returns how it came there, for the receipt."""
        last = self.places.get(key)
        self.places[key] = server.address
        if last is None:
            return "a conversation that is new here"
        if last == server.address:
            return "it served the conversation before"
        before = self._servers.get(last)
        if before is None or before.draining:
            return f"{last}, which served the conversation, left the list"
        if not before.health.available:
            return f"{last}, which served the conversation, fails"
        return f"{last}, which served the conversation, is busy or failed"

    def described(self) -> str:
        """All servers with the last failure of each, for an error."""
        if not self._servers:
            return "no server is known yet"
        return "; ".join(
            f"{server.address}: {server.health.reason or 'no failure known'}"
            for server in self.active
        )

    # ── the list ─────────────────────────────────────────────────────────────────────────────

    async def update(self, addresses: Iterable[str]) -> None:
        """Add new servers, and drain those that left the list, unless it has no usable one."""
        wanted = [address for address in dict.fromkeys(addresses) if self._is_allowed(address)]
        for address in wanted:
            known = self._servers.get(address)
            if known is None:
                await self._join(address)
            else:
                known.draining = False
        if not any(address in self._servers for address in wanted):
            return
        for server in self.active:
            if server.address in wanted:
                continue
            server.draining = True
            text = "%s left the list; it still serves %d requests"
            self._log.info(text, server.address, server.running)
            task = asyncio.create_task(self._drain(server))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _join(self, address: str) -> None:
        try:
            server = self._make(address)
            await server.open()
        except PlugwayError as error:  # such as a key that is stored for another address
            self._refuse(address, str(error))
        else:
            self._servers[address] = server
            self._log.info("%s joined", address)

    def _is_allowed(self, address: str) -> bool:
        if not self._local or Upstream(address).loopback:
            return True
        self._refuse(address, "the pool's zone is `local`; set `zone` to allow other machines")
        return False

    def _refuse(self, address: str, reason: str) -> None:
        if address not in self._refused:
            self._refused.add(address)
            self._log.warning("%s is ignored: %s", address, reason)

    async def _drain(self, server: Server) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await server.idle.wait()
        if server.draining and self._servers.get(server.address) is server:
            del self._servers[server.address]
            await server.close()

    async def follow(self, seconds: float) -> None:
        """Update the servers whenever the list changes."""
        while True:
            await asyncio.sleep(seconds)
            if addresses := await self.addresses.read():
                await self.update(addresses)

    async def close(self) -> None:
        """Close all servers."""
        leaving = list(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        servers, self._servers = self.servers, {}
        for server in servers:
            await server.close()

    def inherit(self, before: Members) -> None:
        """Take over where conversations are served, and which servers fail, after a reload."""
        for key, address in before.places.items():
            self.places[key] = address
        for server in self.servers:
            known = before._servers.get(server.address)
            if known is not None:
                server.health, server.listed = known.health, known.listed
