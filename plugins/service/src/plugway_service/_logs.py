"""The log of a service: from the system's journal, or from its file."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Final

from plugway import PlugwayError
from plugway_service._model import Manager, Service
from plugway_service._run import run, said

_POLL_SECONDS: Final = 0.3
_NO_ACCESS: Final = (
    "this user cannot read the system's journal ({reason}): ask for the group `systemd-journal` "
    "(`sudo usermod -aG systemd-journal USER`, then log in again), or let the journal be kept on "
    "disk (`sudo mkdir -p /var/log/journal`, then restart the machine). Or run `plugway service "
    "install` again: it uses a file where the journal cannot be read"
)


def log_lines(system: Manager, service: Service, count: int, *, follow: bool) -> Iterator[str]:
    """The last lines of the log, and with `follow` those that are added until it is interrupted.

    Raises `PlugwayError`: it cannot be read.
    """
    if service.log is not None:
        yield from _file_lines(service.log, count, follow=follow)
        return
    words = system.log_command(service.unit, count, follow=follow)
    if not follow:
        done = run(words)
        _check_access(done)
        yield from done.stdout.splitlines()
        return
    _check_access(run(system.log_command(service.unit, 1, follow=False)))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        try:
            for line in child.stdout or ():
                yield line.decode("utf-8", "replace").rstrip("\n")
        finally:
            child.terminate()


def last_lines(system: Manager, service: Service, count: int) -> list[str]:
    """The last lines of the log, or why it cannot be read."""
    try:
        return list(log_lines(system, service, count, follow=False))
    except PlugwayError as error:
        return [str(error)]


def _check_access(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode == 0:
        return
    for line in done.stderr.splitlines():
        if line.startswith("No journal files were"):  # "opened ..." or "found."
            raise PlugwayError(_NO_ACCESS.format(reason=line.strip().rstrip(".")))
    raise PlugwayError(f"`journalctl` failed: {said(done)}")


def _file_lines(path: Path, count: int, *, follow: bool) -> Iterator[str]:
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise PlugwayError(f"there is no log yet: `{path}`") from None
    except OSError as error:
        raise PlugwayError(f"cannot read `{path}`: {error.strerror}") from None
    pause = Event()
    with file:
        for line in deque(file, maxlen=count):
            yield line.rstrip("\n")
        while follow:
            line = file.readline()
            if line:
                yield line.rstrip("\n")
                continue
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)  # it was emptied
            pause.wait(_POLL_SECONDS)
