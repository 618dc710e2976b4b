"""Reservations of models that are loaded in the background, by engines that ask for room.

See `_protocols.MakesRoom` for the plugin that gives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager


class Reservations:
    """Memory that is held for models while they are loaded."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self,
        reservation: AbstractAsyncContextManager[None],
        start: Callable[[], object],
        loaded: Callable[[], Awaitable[object]],
    ) -> None:
        """Wait for room, then call `start`, which does not wait, and hold the memory until `loaded`
        returns. Raises what entering `MakesRoom.loading` raises."""
        await reservation.__aenter__()
        try:
            start()
        finally:
            task = asyncio.create_task(_hold(reservation, loaded))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Wait for the end of all loads; stop the loads first."""
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _hold(
    reservation: AbstractAsyncContextManager[None], loaded: Callable[[], Awaitable[object]]
) -> None:
    try:
        await loaded()
    finally:
        await reservation.__aexit__(None, None, None)
