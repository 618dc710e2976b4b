"""Two watchers: of a file that may change, and of an event loop that may be blocked.

What follows from what they see is decided by the server.
"""

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
    """Call `changed` whenever the content is another than before, and has rested for `settle`.

    Never returns. A file that is missing or empty, as between the steps of a replacement, is no
    content.
    """
    seen, content = await anyio.to_thread.run_sync(_read, path)
    while True:
        await anyio.sleep(every)
        now = await anyio.to_thread.run_sync(_look, path)
        if now == seen:
            continue
        while now != seen:
            seen = now
            await anyio.sleep(settle)
            now = await anyio.to_thread.run_sync(_look, path)
        seen, digest = await anyio.to_thread.run_sync(_read, path)
        if digest not in (content, b""):
            content = digest
            changed()


def _look(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def _read(path: Path) -> tuple[tuple[int, int, int], bytes]:
    # Looked at before it is read: a write in between is then seen as one more change.
    look = _look(path)
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    return look, hashlib.sha256(content).digest() if content else b""


class Watchdog(threading.Thread):
    """Logs where the loop's thread stands when it has not turned for `limit` seconds."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, limit: float = 0.5, pause: float = 0.1
    ) -> None:
        """Made in the loop's own thread; a block of `limit` plus `pause` is always noticed."""
        super().__init__(name="plugway-watchdog", daemon=True)
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._limit = limit
        self._pause = pause
        self._over = threading.Event()

    def run(self) -> None:
        """Ask the loop for a sign of life again and again."""
        while not self._over.wait(self._pause):
            sign, start = threading.Event(), time.monotonic()
            try:
                self._loop.call_soon_threadsafe(sign.set)
            except RuntimeError:  # the loop is closed
                return
            if sign.wait(self._limit):
                continue
            stack = self._stack()
            log.warning("the event loop is blocked for more than %.1f s:\n%s", self._limit, stack)
            while not sign.wait(self._limit) and not self._over.is_set():
                pass
            log.warning("the event loop was blocked for %.1f s", time.monotonic() - start)

    def _stack(self) -> str:
        # On its own: whoever keeps a frame keeps all that it works on, up to whole answers.
        frame = sys._current_frames().get(self._thread_id)  # pyright: ignore[reportPrivateUsage] - the only way to see another thread's stack
        return "".join(traceback.format_stack(frame)) if frame else "(no stack)"

    def stop(self) -> None:
        """End the thread within its pause."""
        self._over.set()
