"""Writes what has ended to the history: every second, before a search, and when a gateway stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import anyio

from plugway_dashboard._history import History
from plugway_dashboard._running import Book

_END_SECONDS: Final = 0.2
"""Time to close connections."""


class Writer:
    """Writes from memory to the history, in the order in which exchanges ended."""

    def __init__(
        self, history: History, explained: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """`explained` adds what is known of an exchange at that time."""
        self._history = history
        self._explained = explained
        self._lock = anyio.Lock()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._failed = 0.0

    async def save(self, book: Book) -> None:
        """Write what has ended; returns when it is in the history, or cannot be written now.

        If the one who waits is cancelled, what is being written stays in memory, too, and is
        written again, which changes nothing.
        """
        began = time.monotonic()
        async with self._lock:
            if self._failed > began:  # while this waited
                return
            while items := [self._explained(item) for item in book.take_unsaved()]:
                written = False
                try:
                    written = await self._add(items)
                finally:
                    if not written:
                        book.put_back(items)
                if not written:
                    self._failed = time.monotonic()
                    return

    async def close(self) -> None:
        """Give up what a database does not respond to."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._tasks, timeout=_END_SECONDS)

    async def _add(self, items: Sequence[Mapping[str, Any]]) -> bool:
        """Write some; in a task, because a database that does not respond cannot be interrupted."""
        task = asyncio.ensure_future(self._history.add(items))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task})
        return task.result()
