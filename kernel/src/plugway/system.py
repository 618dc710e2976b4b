"""What an operating system may lend a process, and what there is where it does not.

Windows has no such limits, no `uvloop`, no `SIGHUP`, and no signals in its event loop; nothing here
needs them.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

__all__ = [
    "RELOAD",
    "event_loop",
    "memory_goes_back",
    "memory_stays_private",
    "signals",
    "soft_limit",
    "user_id",
]

RELOAD: Final[int | None] = getattr(signal, "SIGHUP", None)
"""The signal that asks for a reload; None on Windows, where a changed file is still noticed."""
_LARGE: Final = 2**20
"""Bytes: requests up to here are so many that pages of their own would cost more than they give."""
_MALLOPT: Final = ((-3, _LARGE), (-1, _LARGE), (-8, 1))
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX of <malloc.h>."""
_STOP: Final = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGBREAK", None))
"""Ctrl-C, the end that is asked for, and Ctrl-Break of Windows."""


def event_loop() -> type[asyncio.AbstractEventLoop]:
    """The fastest kind that is here; on Windows the one that can start processes."""
    try:
        return importlib.import_module("uvloop").Loop
    except ImportError:
        return getattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop)


@contextmanager
def signals() -> Generator[asyncio.Queue[int]]:
    """The signals that stop or reload the gateway, as they arrive. For the main thread.

    Not `loop.add_signal_handler`, which the event loop of Windows does not have.
    """
    arrived: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def take(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(arrived.put_nowait, number)

    wanted = [number for number in (*_STOP, RELOAD) if number is not None]
    before = {number: signal.signal(number, take) for number in wanted}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def user_id() -> int | None:
    """Whose process this is, as files say whose they are; None where files have no owner and mode:
    on Windows, whose access lists are not looked at."""
    geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)
    return None if geteuid is None else geteuid()


def soft_limit(kind: str) -> int:
    """A limit of this process by its name, such as `RLIMIT_NOFILE`; 0 where there is none."""
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:
        return 0
    soft: int = resource.getrlimit(getattr(resource, kind))[0]
    return 0 if soft == resource.RLIM_INFINITY else soft


def memory_goes_back() -> None:
    """What a large answer took goes back to the system when it is freed.

    glibc raises the size from which a block has pages of its own with each such block that is
    freed, up to 32 MiB, and keeps for each thread what is smaller. Where the C library is another
    one, its own ways decide.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    for setting, value in _MALLOPT if hasattr(library, "mallopt") else ():
        library.mallopt(setting, value)


def memory_stays_private() -> None:
    """A crash writes no core file: it would hold keys and conversations.

    Where the system has no such limit, its own settings decide.
    """
    with suppress(ImportError):
        resource: Any = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
