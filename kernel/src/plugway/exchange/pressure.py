"""How near the process is to what the system lets it have: open files and memory.

New work is refused before that, and connections are left to wait, because running out of either
breaks the exchanges that are in flight.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from plugway.system import soft_limit
from plugway.upstream.connection import Connection

State = Literal["calm", "shed", "pause"]

ROOM_FILES: Final = 0.8
"""Share of the limit on open files up to which connections are accepted, each counted with the one
to an upstream that its exchange needs. The rest is for what plugins open meanwhile."""
PAUSE_FILES: Final = 0.9
"""Share of that limit at which new exchanges are refused, too."""
SHED_MEMORY: Final = 0.9
"""Share of the limit on memory at which new exchanges are refused."""
PAUSE_MEMORY: Final = 0.95
"""The same at which no connection is accepted either."""

_CGROUP = Path("/sys/fs/cgroup/memory.max")


class Pressure:
    """Looks when asked; a system that does not tell is taken to be calm."""

    def __init__(self, *, max_files: int | None = None, max_bytes: int | None = None) -> None:
        """Limits other than those of the process and its control group."""
        self._max_files = max_files or soft_limit("RLIMIT_NOFILE")
        self._max_bytes = max_bytes or _memory_limit()
        self._others = 0
        """Files that were neither a client's connection nor one to an upstream."""
        self.state: State = "calm"

    def look(self, clients: int = 0) -> State:
        """The state now, with so many connections of clients."""
        count = _open_files() if self._max_files else 0
        self._others = max(count - clients - Connection.count, 0)
        files = count / self._max_files if self._max_files else 0.0
        memory = _resident_bytes() / self._max_bytes if self._max_bytes else 0.0
        if files >= PAUSE_FILES or memory >= PAUSE_MEMORY:
            self.state = "pause"
        else:
            self.state = "shed" if memory >= SHED_MEMORY else "calm"
        return self.state

    def has_room(self, clients: int) -> bool:
        """Whether one more may connect: it opens no file, as there may be none to look with."""
        if self.state == "pause":
            return False
        used = self._others + clients + max(clients, Connection.count)
        return not self._max_files or used + 2 <= ROOM_FILES * self._max_files


def _open_files() -> int:
    """How many there are: all that may be, where there is none left to look with."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return soft_limit("RLIMIT_NOFILE")
    return 0


def _resident_bytes() -> int:
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * mmap.PAGESIZE
    return 0


def _memory_limit() -> int:
    """The least of the process's own limit and its control group's, 0 where there is none."""
    found = [own] if (own := soft_limit("RLIMIT_AS")) else []
    with suppress(OSError, ValueError):  # `max` where there is none
        found.append(int(_CGROUP.read_text(encoding="ascii")))
    return min(found, default=0)


PRESSURE: Final = Pressure()
"""Of this process: the server looks every second, and exchanges go by what it saw."""
