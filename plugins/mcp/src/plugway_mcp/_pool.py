"""One mounted server: its processes, one for each set of folders, and the pauses after failures."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from plugway_mcp._connection import Connection, ServerFailed, Start
from plugway_mcp._definitions import (
    Definitions,
    Difference,
    Store,
    difference,
    state_folder,
)
from plugway_mcp._options import PROXY, ROOTS, ServerOptions, plain
from plugway_mcp._presets import presets
from plugway_mcp._process import Command

MAX_PROCESSES: Final = 4
"""Most processes of one server; an idle one makes room for another set of folders."""
MAX_PAUSE: Final = 60.0
_STEADY_SECONDS: Final = 60.0
MANY_FAILURES: Final = 3
"""After so many in a row the server counts as unreachable."""

log = logging.getLogger("plugway.mcp")


class Pool:
    """The processes of one server."""

    def __init__(self, name: str, options: ServerOptions, group: TaskGroup) -> None:
        self.name = name
        self.options = options
        self.proxy = ""
        """The address that replaces `{proxy}`."""
        self.listed: Definitions | None = None
        """The last list of the server; None before it was started."""
        self.failures = 0
        self.problem = ""
        """Why it failed last; empty after a success."""
        self._group = group
        self._running: dict[tuple[Path, ...], Connection] = {}
        self._not_before = 0.0
        self.on_listed: Callable[[str, Definitions], Awaitable[None]] = _ignore

    @property
    def processes(self) -> int:
        """How many run."""
        return len(self._running)

    @property
    def is_away(self) -> bool:
        """Whether it failed again and again, and is not tried again yet."""
        return self.failures >= MANY_FAILURES and self._not_before > anyio.current_time()

    async def connection(self, roots: Sequence[Path] = ()) -> Connection:
        """A running server for a call that may use `roots`; empty for all that are configured.

        Raises `ServerFailed`: it cannot be started, or the folders are not its own.
        """
        folders = await anyio.to_thread.run_sync(_narrowed, self.options, tuple(roots))
        running = self._running.get(folders)
        if running is None or not running.usable:
            running = self._start(folders)
        await running.started()
        return running

    def succeeded(self) -> None:
        """A call was answered: earlier failures are forgotten."""
        self.failures, self.problem, self._not_before = 0, "", 0.0

    def stop(self) -> None:
        """End all processes."""
        for running in self._running.values():
            running.stop()

    def _start(self, folders: tuple[Path, ...]) -> Connection:
        pause = self._not_before - anyio.current_time()
        if pause > 0:
            raise ServerFailed(
                f"it failed {self.failures} times in a row and is started again in "
                f"{max(1, round(pause))} s; the last time: {self.problem}"
            )
        if len(self._running) >= MAX_PROCESSES:
            idle = [c for c in self._running.values() if not c.active and c.usable]
            if not idle:
                raise ServerFailed(f"all {MAX_PROCESSES} of its processes are busy; try again")
            idle[0].stop()
        start = Start(self.name, self.options, folders, self._command(folders))
        running = Connection(start, self._took)
        self._running[folders] = running
        self._group.start_soon(self._run, folders, running)
        return running

    async def _run(self, folders: tuple[Path, ...], running: Connection) -> None:
        begun = anyio.current_time()
        if running.start.command is not None and self.options.cwd is None:
            await anyio.to_thread.run_sync(make_folder, self.name)
        try:
            await running.run()
        finally:
            if self._running.get(folders) is running:
                del self._running[folders]
        if not running.failure:
            return
        if running.answered or anyio.current_time() - begun > _STEADY_SECONDS:
            self.failures = 0
        self.failures += 1
        self.problem = running.failure
        pause = 0.0 if self.failures == 1 else min(MAX_PAUSE, 2.0 ** (self.failures - 2))
        self._not_before = anyio.current_time() + pause
        log.warning("server `%s` failed (%d in a row): %s", self.name, self.failures, self.problem)

    async def _took(self, listed: Definitions) -> None:
        self.listed = listed
        await self.on_listed(self.name, listed)

    def _command(self, folders: tuple[Path, ...]) -> Command | None:
        options = self.options
        if options.command is None:
            return None
        args: list[str] = []
        for argument in options.args:
            if argument == ROOTS:
                args += map(str, folders)
            else:
                args.append(argument.replace(PROXY, self.proxy))
        env = {name: plain(value) for name, value in options.env.items()}
        return Command(options.command, args, env, options.cwd or folder_of(self.name))


async def _ignore(server: str, listed: Definitions) -> None:
    """Nobody wants to know."""


def folder_of(server: str) -> Path:
    """The working folder of a server that has no `cwd`."""
    return state_folder() / "work" / server


def make_folder(server: str) -> None:
    """Create it. A failure is reported when the server is started there."""
    try:
        folder_of(server).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        log.warning("cannot create %s: %s", folder_of(server), error.strerror)


def _narrowed(options: ServerOptions, wanted: tuple[Path, ...]) -> tuple[Path, ...]:
    """The folders of a call: those of the configuration, or the wanted ones inside them. A server
    without folders has none to narrow. Raises `ServerFailed`."""
    own = [_real(path) for path in options.roots]
    for path in own:
        if not os.path.isdir(path):
            raise ServerFailed(f"there is no folder `{path}`: fix `roots`")
    if not own:
        return ()
    folders = own
    if wanted:
        inside: dict[Path, None] = {}
        for path in map(_real, wanted):
            if any(path.is_relative_to(root) for root in own) and os.path.isdir(path):
                inside[path] = None
            else:
                inside |= dict.fromkeys(root for root in own if root.is_relative_to(path))
        folders = list(inside)
        if not folders:
            raise ServerFailed("none of the folders of this request is among its own")
    preset = presets().get(options.preset or "")
    if preset is not None and preset.folders == "repository":
        _check_repository(folders)
    return tuple(folders)


def _real(path: Path) -> Path:
    """Without links. `os.path` is used because a path that cannot exist, or may not be looked at,
    makes `Path.is_dir` raise."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path


def _check_repository(folders: Sequence[Path]) -> None:
    """The git server widens a folder to its repository, and takes one."""
    if len(folders) != 1 or not os.path.exists(folders[0] / ".git"):
        raise ServerFailed("it needs one folder that is a git repository itself")


def waiting(store: Store, name: str, listed: Definitions) -> Difference:
    """Compare a server's list with what the user has seen, and record the difference. The first
    list ever counts as seen: the user has named the server in the configuration."""
    accepted = store.accepted(name)
    try:
        if accepted is None:
            store.accept(name, listed)
            log.info("server `%s`: its %d tools are remembered", name, len(listed))
            return Difference()
        found = difference(accepted, listed)
        if found:
            store.wait(name, listed)
            log.warning(
                "server `%s` describes other tools than you have seen: %s. They are not offered; "
                "run `plugway mcp accept %s`",
                *(name, found.text, name),
            )
        else:
            store.settle(name)
    except OSError as error:
        log.warning("cannot record the tools of server `%s`: %s", name, error.strerror)
        return Difference()
    return found
