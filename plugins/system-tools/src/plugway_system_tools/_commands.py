"""Running a program of the system for a call: bounded in time and size, killed with the call."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

_PASSED: Final = (
    *("PATH", "PATHEXT", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP"),
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_SESSION_TYPE"),
    *("XDG_CURRENT_DESKTOP", "DBUS_SESSION_BUS_ADDRESS", "SYSTEMROOT", "WINDIR", "COMSPEC"),
    *("USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMDRIVE"),
)
"""Variables that programs get; the gateway's others may be keys."""
_MOST_ERROR: Final = 500


class CommandFailed(Exception):
    """A program failed; the text says which and why."""


def environment() -> dict[str, str]:
    """The variables that programs get."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ}


async def output_of(command: Sequence[str], most: int) -> bytes:
    """What a program writes to its standard output.

    Raises:
        CommandFailed: it cannot be started, fails, or writes more than `most` bytes.
    """
    pipe = asyncio.subprocess.PIPE
    return await _run(_Program(command[0], most), command, None, pipe)


async def give(command: Sequence[str], data: bytes) -> None:
    """Give a program data on its standard input, and wait until it ends.

    Programs that set the clipboard stay in the background until something else is copied, because
    on X11 and Wayland the content belongs to a program. They get no pipe that would keep us
    waiting.

    Raises:
        CommandFailed: it cannot be started, or fails.
    """
    await _run(_Program(command[0], 0), command, data, asyncio.subprocess.DEVNULL)


class _Program(asyncio.SubprocessProtocol):
    """A running program: what it wrote, and whether it has ended and, if output is wanted, closed
    its pipes."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self.output, self.errors = bytearray(), bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        kept, most = (self.output, self._most) if fd == 1 else (self.errors, _MOST_ERROR)
        room = most - len(kept)
        kept += data[:room]
        if fd == 1 and len(data) > room and not self.ended.done():
            reason = f"`{self._name}` wrote more than {most:,} bytes"
            self.ended.set_exception(CommandFailed(reason))

    def process_exited(self) -> None:
        if not self._most:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _run(program: _Program, command: Sequence[str], data: bytes | None, output: int) -> bytes:
    transport = await _start(program, command, data is not None, output)
    try:
        if data is not None:
            given: Any = transport.get_pipe_transport(0)  # uvloop's has no base class of asyncio
            with suppress(RuntimeError):  # it ended early; its status says why
                given.write(data)
                given.write_eof()
        await program.ended
    except BaseException:
        _kill(transport)
        raise
    finally:
        transport.close()
    if status := transport.get_returncode():
        reason = " ".join(program.errors.decode(errors="replace").split()) or f"status {status}"
        raise CommandFailed(f"`{command[0]}` failed: {reason}")
    return bytes(program.output)


async def _start(
    program: _Program, command: Sequence[str], takes_data: bool, output: int
) -> asyncio.SubprocessTransport:
    """Start a program. A cancellation that comes before the start is reported still ends it."""
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            lambda: program,
            *command,
            stdin=asyncio.subprocess.PIPE if takes_data else asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
            start_new_session=sys.platform != "win32",
        )
    )
    try:
        return (await asyncio.shield(starting))[0]
    except asyncio.CancelledError:
        starting.add_done_callback(_kill_late)
        raise
    except OSError as error:
        raise CommandFailed(f"`{command[0]}` cannot be started: {error}") from None


def _kill_late(started: asyncio.Task[tuple[asyncio.SubprocessTransport, _Program]]) -> None:
    if not started.cancelled() and started.exception() is None:
        _kill(started.result()[0])


def _kill(transport: asyncio.SubprocessTransport) -> None:
    """End the program, and what it started even if it has ended itself; close the pipes."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
    transport.close()
