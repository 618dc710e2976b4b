"""How close the process is to its limits on open files and memory.

The gateway rejects new exchanges and delays connections before it reaches a limit, because running
out of either breaks the exchanges in flight.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from plugway_http.system import soft_limit

State = Literal["calm", "shed", "pause"]

ROOM_FILES: Final = 0.8
"""Share of the limit on open files up to which connections are accepted, each counted together with
its upstream connection. The rest is left for plugins."""
PAUSE_FILES: Final = 0.9
"""Share of that limit at which new exchanges are rejected too."""
SHED_MEMORY: Final = 0.9
"""Share of the memory limit at which new exchanges are rejected."""
PAUSE_MEMORY: Final = 0.95
"""Share of the memory limit at which connections are not accepted either."""

_CGROUP = Path("/sys/fs/cgroup/memory.max")


class Pressure:
    """The state as of the last `update`; `calm` where the system does not report usage."""

    def __init__(
        self,
        *,
        max_files: int | None = None,
        max_bytes: int | None = None,
        outbound: Callable[[], int] = int,
    ) -> None:
        """`max_files` and `max_bytes` replace the limits of the process and its control group;
        `outbound` returns the number of open connections to other servers."""
        self._outbound = outbound
        self._max_files = max_files or soft_limit("RLIMIT_NOFILE")
        self._max_bytes = max_bytes or _memory_limit()
        self._others = 0
        """Open files that are neither client nor upstream connections."""
        self.state: State = "calm"

    def update(self, clients: int = 0) -> State:
        """Measure the state now, with `clients` open client connections."""
        count = _open_files() if self._max_files else 0
        self._others = max(count - clients - self._outbound(), 0)
        files = count / self._max_files if self._max_files else 0.0
        memory = _resident_bytes() / self._max_bytes if self._max_bytes else 0.0
        if files >= PAUSE_FILES or memory >= PAUSE_MEMORY:
            self.state = "pause"
        else:
            self.state = "shed" if memory >= SHED_MEMORY else "calm"
        return self.state

    def has_room(self, clients: int) -> bool:
        """Whether one more client may connect; checked without opening a file."""
        if self.state == "pause":
            return False
        used = self._others + clients + max(clients, self._outbound())
        return not self._max_files or used + 2 <= ROOM_FILES * self._max_files


def _open_files() -> int:
    """The number of open files; the limit itself if no file is left to list them with."""
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
    """The lower of the limits of the process and its control group; 0 without either."""
    found = [own] if (own := soft_limit("RLIMIT_AS")) else []
    with suppress(OSError, ValueError):  # the file says `max` without a limit
        found.append(int(_CGROUP.read_text(encoding="ascii")))
    return min(found, default=0)
