"""The mounted servers together: the tools that are offered, and calls of them."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson
from anyio.abc import TaskGroup
from mcp.types import CallToolResult

from plugway_mcp._connection import CallFailed, NotSent, ServerFailed
from plugway_mcp._definitions import Definition, Definitions, Store
from plugway_mcp._offers import Offer, offers, specs
from plugway_mcp._options import PROXY, ServerOptions
from plugway_mcp._pool import Pool, waiting
from plugway_mcp._results import to_result
from plugway_tools import ToolResult, ToolSpec, failed, guard_proxy

MAX_ARGUMENTS: Final = 2**20
"""Longest arguments of a call as JSON, in bytes."""
FIRST_SECONDS: Final = 20.0
"""Longest wait for the list of a server that was never started before."""

log = logging.getLogger("plugway.mcp")


class Mounts:
    """The servers of one configuration; `running` must be entered before use."""

    def __init__(
        self,
        servers: Mapping[str, ServerOptions],
        taken: Collection[str] = (),
        store: Store | None = None,
    ) -> None:
        self._servers = servers
        self._taken = taken
        self._store = store or Store()
        self._pools: dict[str, Pool] = {}
        self._group: TaskGroup | None = None
        self._first: dict[str, anyio.Event] = {}
        self._waited: set[str] = set()
        self._versions: tuple[object, ...] = ()
        self._offers: Mapping[str, Offer] = {}
        self._fresh = False

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The servers by name."""
        return self._pools

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Servers may run; at the end all are stopped."""
        async with AsyncExitStack() as stack:
            proxies: dict[tuple[str, ...], str] = {}
            for options in self._servers.values():
                own = options.own_addresses
                if own not in proxies and any(PROXY in argument for argument in options.args):
                    proxies[own] = await stack.enter_async_context(guard_proxy(own))
            group = await stack.enter_async_context(anyio.create_task_group())
            self._group = group
            for name, options in self._servers.items():
                pool = self._pools[name] = Pool(name, options, group)
                pool.on_listed = self._listed
                pool.proxy = proxies.get(options.own_addresses, "")
            try:
                yield
            finally:
                self._group = None
                group.cancel_scope.cancel()

    # ── what is offered ──────────────────────────────────────────────────────────────────────

    async def tools(self) -> list[ToolSpec]:
        """The tools that may be called. A server that was never started is started for its list;
        one that takes too long, or fails again and again, is left out."""
        found = await self.offers()
        away = {name for name, pool in self._pools.items() if pool.is_away}
        return [o.spec for o in found.values() if not o.refusal and o.server not in away]

    async def offers(self, *, start: bool = True) -> Mapping[str, Offer]:
        """All tools that the user has seen, by the names under which they are offered."""
        versions = await anyio.to_thread.run_sync(self._stored)
        if start and None in versions:
            unknown = [n for n, v in zip(self._servers, versions, strict=True) if v is None]
            await self._start_first(unknown)
            versions = await anyio.to_thread.run_sync(self._stored)
        if versions != self._versions or not self._fresh:
            self._fresh = True
            self._offers = await anyio.to_thread.run_sync(self._read)
            self._versions = versions
        return self._offers

    def _stored(self) -> tuple[object, ...]:
        return tuple(map(self._store.version, self._servers))

    def _read(self) -> Mapping[str, Offer]:
        rows = [
            (name, options, *judged)
            for name, options in self._servers.items()
            for judged in offers(name, options, self._usable(name).values())
        ]
        return specs(rows, self._taken)

    def _usable(self, name: str) -> Definitions:
        """The tools that the user has seen, without those that the running server lacks or
        describes otherwise."""
        accepted = self._store.accepted(name) or {}
        listed = self._pools[name].listed if name in self._pools else None
        if listed is None:
            return accepted
        return {
            tool: seen
            for tool, seen in accepted.items()
            if tool in listed and listed[tool].digest == seen.digest
        }

    async def _start_first(self, names: Sequence[str]) -> None:
        group = self._group
        if group is None:
            return
        for name in names:
            if name not in self._first:
                self._first[name] = anyio.Event()
                group.start_soon(self._discover, name)
        # Nobody waits a second time for a server that hangs.
        awaited = [self._first[name] for name in names if name not in self._waited]
        self._waited |= set(names)
        with anyio.move_on_after(FIRST_SECONDS):
            for event in awaited:
                await event.wait()

    async def _discover(self, name: str) -> None:
        try:
            await self._pools[name].connection()
        except ServerFailed as error:
            log.info("server `%s` has listed no tools yet: %s", name, error)
        finally:
            self._first.pop(name).set()

    async def _listed(self, server: str, listed: Definitions) -> None:
        await anyio.to_thread.run_sync(waiting, self._store, server, listed)
        self._fresh = False

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    async def run(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        roots: Sequence[Path] = (),
        caller: str = "owner",
    ) -> ToolResult:
        """Call a tool by its offered name. Every failure is a result."""
        begun = time.monotonic()
        found = (await self.offers(start=False)).get(name)
        raw = _json(arguments)
        result, outcome = await self._run(name, found, raw, roots)
        log.info(
            "tool %s: %s in %d ms, arguments %s, result %d characters",
            *(name[:100], outcome, round((time.monotonic() - begun) * 1000)),
            hashlib.sha256(raw or b"").hexdigest()[:12],
            sum(len(str(block.get("text", ""))) for block in result.content),
            extra={"caller": caller},
        )
        return result

    async def _run(
        self, name: str, found: Offer | None, raw: bytes | None, roots: Sequence[Path]
    ) -> tuple[ToolResult, str]:
        if found is None:
            return failed(f"Unknown tool `{name[:100]}`, or its description changed."), "unknown"
        if found.refusal:
            return failed(f"`{name}` is not allowed: {found.refusal}."), "not allowed"
        if raw is None:
            return failed("The arguments must be JSON of at most 1 MiB."), "bad arguments"
        pool, tool = self._pools[found.server], found.definition
        try:
            try:
                result = await _call(pool, tool, raw, roots)
            except NotSent:
                result = await _call(pool, tool, raw, roots)
            if result is None:
                return failed(f"The server `{found.server}` changed this tool."), "changed"
        except ServerFailed as error:
            return failed(f"The server `{found.server}` is not available: {error}"), "unavailable"
        except CallFailed as error:
            return failed(f"`{name}` failed: {error}"), "failed"
        pool.succeeded()
        limit = pool.options.result_characters
        converted = await anyio.to_thread.run_sync(to_result, result, limit)
        return converted, "error" if converted.is_error else "ok"


async def _call(
    pool: Pool, tool: Definition, raw: bytes, roots: Sequence[Path]
) -> CallToolResult | None:
    """Call a tool; None if the server describes it otherwise than the user has seen."""
    running = await pool.connection(roots)
    listed = running.listed.get(tool.name)
    if listed is None or listed.digest != tool.digest:
        return None
    return await running.call(tool.name, orjson.loads(raw))


def _json(arguments: Mapping[str, Any]) -> bytes | None:
    try:
        raw = orjson.dumps(dict(arguments))
    except (TypeError, ValueError, RecursionError):
        return None
    return raw if len(raw) <= MAX_ARGUMENTS else None
