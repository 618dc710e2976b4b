"""Features that depend on the operating system, with a fallback where they do not exist.

Windows has no resource limits, no `uvloop`, no `SIGHUP` and no signal handlers in its event loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

RELOAD: Final[int | None] = getattr(signal, "SIGHUP", None)
"""The signal for a reload; None on Windows, where a changed file is still noticed."""
_LARGE: Final = 2**20
"""Block size in bytes from which separate pages pay off; smaller blocks are too frequent."""
_MALLOPT: Final = ((-3, _LARGE), (-1, _LARGE), (-8, 1))
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX of <malloc.h>."""
_STOP: Final = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGBREAK", None))
"""Ctrl-C, termination, and Ctrl-Break on Windows."""


def event_loop() -> type[asyncio.AbstractEventLoop]:
    """The fastest loop class available; on Windows the one that can start processes."""
    try:
        return importlib.import_module("uvloop").Loop
    except ImportError:
        return getattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop)


@contextmanager
def signals() -> Generator[asyncio.Queue[int]]:
    """A queue of the signals that stop or reload the gateway. Call it in the main thread.

    It does not use `loop.add_signal_handler`, which is missing on Windows.
    """
    arrived: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def take(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(arrived.put_nowait, number)

    wanted = [number for number in (*_STOP, RELOAD) if number is not None]
    before = {number: signal.signal(number, take) for number in wanted}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def soft_limit(kind: str) -> int:
    """The soft limit `kind` of this process, such as `RLIMIT_NOFILE`; 0 if there is none."""
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:
        return 0
    soft: int = resource.getrlimit(getattr(resource, kind))[0]
    return 0 if soft == resource.RLIM_INFINITY else soft


def tune_malloc() -> None:
    """Make glibc return the memory of large replies to the system when it is freed.

    By default glibc raises its `mmap` threshold up to 32 MiB as blocks are freed, and keeps smaller
    blocks in an arena of each thread. Other C libraries are left as they are.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    for setting, value in _MALLOPT if hasattr(library, "mallopt") else ():
        library.mallopt(setting, value)


def disable_core_dumps() -> None:
    """Disable core files, which would contain keys and conversations, if the system can."""
    with suppress(ImportError):
        resource: Any = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
