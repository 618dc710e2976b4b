"""For backends of model servers: requests in flight, loads that continue, waiting for a state.

Such a server is another program, which loads and unloads models by itself, too. See `_protocols`
for what a backend reports.
"""

from __future__ import annotations

import asyncio
import platform
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from plugway import Bounded, Gateway, Reply
from plugway_local_models._control import control_socket
from plugway_local_models._protocols import HoldsModels

_MOST_MODELS: Final = 1_000
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.5
_GPU_DEVICES: Final = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")
"""Present with a driver of a GPU: NVIDIA's on Linux, AMD's, that of WSL, NVIDIA's on Windows."""


class InUse:
    """Counts the requests that one backend serves, by model."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._ended: Bounded[str, float] = Bounded(_MOST_MODELS)

    def requests(self, model: str) -> int:
        """Requests that are served with `model` now."""
        return self._running[model]

    def idle_seconds(self, model: str) -> float | None:
        """Seconds since the last request ended, 0 while one runs; None if none was served."""
        if self._running[model]:
            return 0.0
        ended = self._ended.get(model)
        return None if ended is None else time.monotonic() - ended

    @contextmanager
    def of(self, model: str) -> Generator[None]:
        """Count one request inside the block."""
        self._running[model] += 1
        try:
            yield
        finally:
            self._end(model)

    async def during(self, model: str, sending: Awaitable[Reply]) -> Reply:
        """The reply that is being sent for. Its request counts until a stream is closed."""
        self._running[model] += 1
        try:
            reply = await sending
        except BaseException:
            self._end(model)
            raise
        if not reply.is_stream:
            self._end(model)
            return reply

        counted = [model]

        async def close() -> None:
            if counted:  # not if it is closed once more
                self._end(counted.pop())
            await reply.close()

        return reply.replace(close=close)

    def _end(self, model: str) -> None:
        self._running[model] -= 1
        if self._running[model] <= 0:
            del self._running[model]
        self._ended[model] = time.monotonic()


class Loading:
    """Loads of one backend, each only once at a time.

    A load continues if its caller leaves, as a tool call does after a minute: a server that is no
    longer waited for may stop loading, and the next call would start again.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def models(self) -> frozenset[str]:
        """Models that are being loaded."""
        return frozenset(self._tasks)

    async def join(self, model: str, load: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the load of `model`, which `load` starts unless it is running. Raises what the
        load raises."""
        task = self._tasks.get(model)
        if task is None:
            task = self._tasks[model] = asyncio.create_task(load(), name=f"load {model}")
            task.add_done_callback(lambda done: self._forget(model, done))
        await asyncio.shield(task)

    async def aclose(self) -> None:
        """Stop waiting for all loads."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, model: str, done: asyncio.Task[None]) -> None:
        del self._tasks[model]
        if not done.cancelled():
            done.exception()  # the caller may have left


@asynccontextmanager
async def serving(
    backend: AbstractAsyncContextManager[object], gateway: Gateway
) -> AsyncGenerator[None]:
    """Keep a backend open, and within reach of `plugway models` if it holds models here; for
    `lifespan`."""
    async with backend, control_socket(gateway if isinstance(backend, HoldsModels) else None):
        yield


async def becomes(check: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether `check` becomes true within `seconds`; it is called at least once. Raises what
    `check` raises."""
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while not await check():
        left = end - time.monotonic()
        if left <= 0:
            return False
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def has_gpu_memory() -> bool:
    """Whether a GPU with memory of its own may be present, so that a model on it needs none of
    this machine's memory.

    False on Apple silicon, where both share one memory. Elsewhere it is decided by the drivers'
    devices, without loading anything.
    """
    if sys.platform == "darwin":
        return platform.machine() != "arm64"
    return any(Path(device).exists() for device in _GPU_DEVICES)
