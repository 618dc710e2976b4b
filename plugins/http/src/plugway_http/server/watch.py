"""Two watchers: for a file that changes, and for an event loop that is blocked."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

__all__ = ["Watchdog", "watch_file"]

log = logging.getLogger("plugway.watchdog")


async def watch_file(
    path: Path, changed: Callable[[], None], *, every: float = 1.0, settle: float = 0.5
) -> None:
    """Call `changed` whenever the content changes and then stays the same for `settle` seconds.

    Never returns. A missing or empty file, as between the steps of a replacement, is ignored.
    """
    seen, content = await anyio.to_thread.run_sync(_read, path)
    while True:
        await anyio.sleep(every)
        now = await anyio.to_thread.run_sync(_stat, path)
        if now == seen:
            continue
        while now != seen:
            seen = now
            await anyio.sleep(settle)
            now = await anyio.to_thread.run_sync(_stat, path)
        seen, digest = await anyio.to_thread.run_sync(_read, path)
        if digest not in (content, b""):
            content = digest
            changed()


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def _read(path: Path) -> tuple[tuple[int, int, int], bytes]:
    # `stat` comes first, so that a write in between counts as one more change.
    look = _stat(path)
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    return look, hashlib.sha256(content).digest() if content else b""


class Watchdog(threading.Thread):
    """Logs the stack of the loop's thread when the loop is blocked for `limit` seconds."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, limit: float = 0.5, pause: float = 0.1
    ) -> None:
        """Create it in the loop's thread. A block of `limit` plus `pause` is always noticed."""
        super().__init__(name="plugway-watchdog", daemon=True)
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._limit = limit
        self._pause = pause
        self._over = threading.Event()

    def run(self) -> None:
        """Check the loop until `stop`."""
        while not self._over.wait(self._pause):
            alive, start = threading.Event(), time.monotonic()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # the loop is closed
                return
            if alive.wait(self._limit):
                continue
            stack = self._stack()
            log.warning("the event loop is blocked for more than %.1f s:\n%s", self._limit, stack)
            while not alive.wait(self._limit) and not self._over.is_set():
                pass
            log.warning("the event loop was blocked for %.1f s", time.monotonic() - start)

    def _stack(self) -> str:
        # A function of its own: a frame kept in `run` would keep its locals, such as whole replies.
        frame = sys._current_frames().get(self._thread_id)  # pyright: ignore[reportPrivateUsage] - the only way to see another thread's stack
        return "".join(traceback.format_stack(frame)) if frame else "(no stack)"

    def stop(self) -> None:
        """End the thread within its pause."""
        self._over.set()
