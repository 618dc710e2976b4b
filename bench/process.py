"""Processes under test: their cores, cost, start and end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def pin(core: int | None, pid: int = 0) -> None:
    """Run a process on one core, if the system supports that and has the core."""
    if core is not None and hasattr(os, "sched_setaffinity") and core < (os.cpu_count() or 1):
        os.sched_setaffinity(pid, {core})


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children: to the nanosecond on Linux, else in ticks."""
    total = 0.0
    for process in _tree(pid):
        tasks = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            if tasks:
                total += sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
            else:
                times = process.cpu_times()
                total += times.user + times.system
    return total


def rss_megabytes(pid: int) -> float:
    """Resident memory of a process and its children."""
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 1e6


@contextlib.asynccontextmanager
async def started(
    command: Sequence[str], core: int | None, log: Path, **environment: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a command on one core with its output in `log`; terminate its process group at exit."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: pin(core),
        )
    try:
        yield process
    finally:
        for number, grace in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            if process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), grace)


async def until_answered(
    process: asyncio.subprocess.Process,
    port: int,
    request: bytes,
    log: Path,
    seconds: float = 30,
    tls: ssl.SSLContext | None = None,
) -> float:
    """Send a request until the status is 200; returns the seconds that it took."""
    start = time.perf_counter()
    said = b""
    while time.perf_counter() - start < seconds:
        if process.returncode is not None:
            break
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            try:
                writer.write(request)
                said = await asyncio.wait_for(reader.readline(), 5)
            finally:
                writer.close()
            if b" 200 " in said:
                return time.perf_counter() - start
        await asyncio.sleep(0.005)
    sys.exit(f"port {port} gave no 200 (last: {said!r}); its log ends:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def default_cores() -> tuple[int | None, int | None]:
    """A core for the measured process and one for the load; None if there is only one."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)
