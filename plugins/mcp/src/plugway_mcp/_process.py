"""A child process in its own process group, and its end with all its descendants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import anyio
import anyio.to_thread
import psutil

POLITE_SECONDS: Final = 0.5
"""Time to end by itself after its input is closed, and again after SIGTERM."""
_KEPT: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("LC_ALL", "LC_CTYPE", "LC_MESSAGES"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA"),
        *("USERPROFILE", "USERNAME", "PROGRAMFILES", "PROGRAMDATA", "WINDIR"),
    }
)
"""Environment variables that a server gets: no key, no token, no proxy."""


class CannotStart(Exception):
    """The program cannot be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start."""

    program: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: Path | None = None


class Child(asyncio.SubprocessProtocol):
    """A running process; `output` gets what it prints."""

    def __init__(self, output: Callable[[int, bytes], None]) -> None:
        self._output = output
        self._transport: asyncio.SubprocessTransport | None = None
        self._may_write = anyio.Event()
        self._may_write.set()
        self.silent = anyio.Event()
        """Set when its standard output is closed."""
        self.deaf = anyio.Event()
        """Set when its standard input is closed."""
        self.exited = anyio.Event()

    # ── called by the event loop ─────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Pass output on."""
        self._output(fd, bytes(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note the end of the output. A closed input ends writing."""
        if fd == 1:
            self.silent.set()
        elif fd == 0:
            self.deaf.set()
        self._may_write.set()

    def process_exited(self) -> None:
        """Note the end."""
        self.exited.set()
        self._may_write.set()

    def pause_writing(self) -> None:
        """Its input is full."""
        self._may_write = anyio.Event()

    def resume_writing(self) -> None:
        """It has read some."""
        self._may_write.set()

    # ── used by the transport of MCP ─────────────────────────────────────────────────────────

    @property
    def pid(self) -> int:
        """Its process id, and the id of its group."""
        assert self._transport is not None
        return self._transport.get_pid()

    @property
    def returncode(self) -> int | None:
        """Its exit status; None while it runs."""
        assert self._transport is not None
        return self._transport.get_returncode()

    async def write(self, data: bytes) -> None:
        """Send to its input; dropped if that is closed."""
        await self._may_write.wait()
        assert self._transport is not None
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if pipe is not None and not pipe.is_closing() and not self.exited.is_set():
            pipe.write(data)

    async def end(self) -> None:
        """End it and everything that it started: politely, then by force, within two seconds. The
        caller shields it from cancellation."""
        assert self._transport is not None
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        started = await anyio.to_thread.run_sync(_descendants, self.pid)
        if pipe is not None:
            pipe.close()
        if not self.exited.is_set():
            await self._wait()
            if not self.exited.is_set():
                self._signal(signal.SIGTERM)
                await self._wait()
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        await anyio.to_thread.run_sync(_kill, started)
        await self._wait()
        self._transport.close()

    async def _wait(self) -> None:
        with anyio.move_on_after(POLITE_SECONDS):
            await self.exited.wait()

    def _signal(self, number: int) -> None:
        killpg: Callable[[int, int], None] | None = getattr(os, "killpg", None)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if killpg is not None:
                killpg(self.pid, number)
            elif self._transport is not None:
                self._transport.kill()


async def start(command: Command, output: Callable[[int, bytes], None]) -> Child:
    """Start it in a new session, with pipes. Raises `CannotStart`."""
    environment = {k: v for k, v in os.environ.items() if k.upper() in _KEPT} | dict(command.env)
    program = await anyio.to_thread.run_sync(
        lambda: shutil.which(command.program, path=environment.get("PATH"))
    )
    if program is None:
        raise CannotStart(f"there is no program `{command.program}`; install it, or fix `command`")
    try:
        _, child = await asyncio.get_running_loop().subprocess_exec(
            lambda: Child(output),
            program,
            *command.args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=command.cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CannotStart(f"cannot start `{command.program}`: {error.strerror}") from None
    return child


def _descendants(pid: int) -> list[psutil.Process]:
    """All processes below `pid`, also in groups of their own, as a browser is."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()  # checks that the id was not given to another process meanwhile
