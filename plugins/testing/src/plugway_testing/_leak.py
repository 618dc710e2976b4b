"""Checks what code leaves behind: tasks, threads, file descriptors, child processes, memory."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import psutil

_POLL: Final = 0.02


@dataclass(frozen=True)
class _Census:
    """The current resources: for each kind, their identities and descriptions."""

    things: Mapping[str, Mapping[Hashable, str]]
    rss: int


class LeakCheck:
    """Fail unless everything started inside the block is gone at its end.

    Compares tasks of this loop, threads, file descriptors and child processes with those at the
    start. Resources get `settle` seconds to end. Memory may grow by `rss_slack` bytes; None
    disables this check. An exception inside the block passes through unchanged.

    >>> async with LeakCheck() as leaks:
    ...     await a_thousand_cancelled_requests()
    ...     await leaks.settle()        # may be called in between

    As a fixture:

    >>> @pytest.fixture
    ... async def no_leaks():
    ...     async with LeakCheck() as leaks:
    ...         yield leaks
    """

    def __init__(self, *, settle: float = 2.0, rss_slack: int | None = 32 * 2**20) -> None:
        self._seconds = settle
        self._rss_slack = rss_slack
        self._before: _Census | None = None

    async def __aenter__(self) -> LeakCheck:
        """Record the current resources."""
        gc.collect()
        self._before = _census()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Compare, unless an exception is being raised."""
        if error is None:
            await self.settle()

    async def settle(self) -> None:
        """Wait until all resources are released. `AssertionError` lists the remaining ones."""
        assert self._before is not None, "enter the check first"
        gc.collect()
        end = time.monotonic() + self._seconds
        looks = 0
        while problems := self._compare(self._before, _census()):
            looks += 1
            if looks > 2 and time.monotonic() > end:  # a census is slow on a busy machine
                raise AssertionError("\n".join(["left behind:", *problems]))
            await asyncio.sleep(_POLL)

    def _compare(self, before: _Census, now: _Census) -> list[str]:
        problems: list[str] = []
        for kind, things in now.things.items():
            known = before.things[kind]
            # Compare counts: a descriptor or thread may be replaced by another.
            grown = len(things) - len(known)
            if grown > 0:
                new = sorted(shown for key, shown in things.items() if key not in known)
                problems.append(f"  {kind}: {len(known)} before, {len(things)} now")
                problems += [f"    + {shown}" for shown in new]
        if self._rss_slack is not None and now.rss - before.rss > self._rss_slack:
            mebibytes = (now.rss - before.rss) / 2**20
            allowed = self._rss_slack / 2**20
            problems.append(f"  memory: {mebibytes:+.1f} MiB, limit {allowed:.1f} MiB")
        return problems


def _census() -> _Census:
    # psutil has no type hints.
    process: Any = psutil.Process()
    current = asyncio.current_task()
    return _Census(
        {
            "tasks": {task: _task(task) for task in asyncio.all_tasks() if task is not current},
            "threads": {found: found.name for found in threading.enumerate()},
            "file descriptors": _descriptors(process),
            "children": {found.pid: str(found) for found in process.children(recursive=True)},
        },
        int(process.memory_info().rss),
    )


def _task(task: asyncio.Task[Any]) -> str:
    # The innermost coroutine is more specific than the outermost, often a task group.
    coroutine: Any = task.get_coro()
    while inner := getattr(coroutine, "cr_await", None):
        if getattr(inner, "cr_frame", None) is None:
            break
        coroutine = inner
    frame = getattr(coroutine, "cr_frame", None)
    place = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
    return f"{task.get_name()} {getattr(coroutine, '__qualname__', coroutine)}{place}"


def _descriptors(process: Any) -> dict[Hashable, str]:
    sockets: dict[int, str] = {
        found.fd: f"{found.laddr} -> {found.raddr or '-'} {found.status}"
        for found in process.net_connections(kind="inet")
    }
    result: dict[Hashable, str] = {}
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{name}") if folder.startswith("/proc") else ""
            os.fstat(int(name))
        except OSError:
            continue  # the descriptor used for this listing
        result[int(name), target] = f"{name} {sockets.get(int(name), target)}"
    return result
