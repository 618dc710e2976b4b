"""Starts the mounted servers' side of the plugin when it is first used.

It needs the SDK, whose import costs 25 MiB and a quarter of a second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from plugway_mcp._options import ServerOptions

if TYPE_CHECKING:
    from plugway_mcp._mounts import Mounts


class LazyMounts:
    """The mounted servers of a configuration."""

    def __init__(self, servers: Mapping[str, ServerOptions], taken: Collection[str]) -> None:
        self._servers = servers
        self._taken = taken
        self._group: TaskGroup | None = None
        self._starting = anyio.Lock()
        self.mounts: Mounts | None = None
        """None before the first use, and when the gateway has ended."""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Servers may run; at the end all are stopped."""
        async with anyio.create_task_group() as self._group:
            self._starting = anyio.Lock()
            try:
                yield
            finally:
                group, self._group, self.mounts = self._group, None, None
                group.cancel_scope.cancel()

    async def get(self) -> Mounts | None:
        """The servers; None if none is configured, or the gateway does not run."""
        if self.mounts is None and self._servers:
            async with self._starting:
                if self.mounts is None and (group := self._group) is not None:
                    self.mounts = await group.start(self._serve)
        return self.mounts

    async def _serve(self, *, task_status: TaskStatus[Mounts]) -> None:
        module = await anyio.to_thread.run_sync(import_module, "plugway_mcp._mounts")
        mounts: Mounts = module.Mounts(self._servers, self._taken)
        async with mounts.running():
            task_status.started(mounts)
            await anyio.sleep_forever()
