"""Finds the process that listens on a local port, in `/proc` and without root.

Without `/proc`, or for a process of another user, the result is less detailed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from plugway_log import redact

__all__ = ["Owner", "port_owner"]

_LISTENING = "0A"
"""State of a listening socket in `/proc/net/tcp` (proc(5))."""
_MAX_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that owns a port, as far as it is known."""

    pid: int = 0
    command: tuple[str, ...] = ()
    """The arguments it was started with."""
    user: str = ""
    """The owner's name, if only that is known."""
    port: int = 0

    @property
    def is_gateway(self) -> bool:
        """Whether it was started by `plugway serve`."""
        names = [Path(word).name for word in self.command]
        return "serve" in names and "plugway" in names[: names.index("serve")]

    @property
    def description(self) -> str:
        """The process as text for the user."""
        if self.pid:
            command = redact(" ".join(self.command))
            cut = f"{command[:_MAX_CHARACTERS]}…" if len(command) > _MAX_CHARACTERS else command
            return f"process {self.pid}" + (f" ({cut})" if cut else "")
        if self.user:
            return f"a process of {self.user} (`sudo ss -ltnp sport = :{self.port}` shows which)"
        if sys.platform == "win32":
            return f"another process (`netstat -ano | findstr :{self.port}` shows its process id)"
        return f"another process (`lsof -nP -iTCP:{self.port} -sTCP:LISTEN` shows which)"


def port_owner(port: int) -> Owner:
    """The process that listens on a local TCP port, on any address."""
    sockets = dict(_listening(port))
    for link in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        with suppress(OSError):
            if str(link.readlink()) in sockets:
                return Owner(int(link.parts[2]), _command(link.parents[1]), port=port)
    return Owner(user=next((_user(uid) for uid in sockets.values()), ""), port=port)


def _listening(port: int) -> Iterator[tuple[str, int]]:
    """For each socket listening on `port`, the link target of its descriptors and its user id."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and columns[1].endswith(f":{port:04X}"):
                    yield f"socket:[{columns[9]}]", int(columns[7])


def _command(process: Path) -> tuple[str, ...]:
    with suppress(OSError):
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace")
        return tuple(word for word in words.split("\0") if word)
    return ()


def _user(uid: int) -> str:
    with suppress(KeyError, ImportError):
        return str(importlib.import_module("pwd").getpwuid(uid).pw_name)
    return str(uid)
