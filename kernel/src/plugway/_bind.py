"""The listening socket, and who has the port if it cannot be had.

What is served on it is the server's business.
"""

from __future__ import annotations

import errno
import importlib
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from plugway._errors import PlugwayError

__all__ = ["BACKLOG", "BindError", "bind"]

BACKLOG = 2048

_LISTENING = "0A"
"""State of a listening socket in the tables of `/proc/net`."""


class BindError(PlugwayError):
    """The address cannot be listened on; the message says who has it and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on exactly this address; raises `BindError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # Named, because asyncio sets TCP_NODELAY only where it sees TCP: without it every answer on
        # a kept connection waits 40 ms (`test_answers_on_a_kept_connection_do_not_wait`).
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise BindError(f"cannot listen on host {host!r}: {error}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise BindError(_why_not(host, port, error)) from error
    return sock


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {host} port {port}: {error.strerror or error}"
    pid = next((pid for pid in (*_owners_by_psutil(port), *_owners_by_proc(port)) if pid), None)
    owner = f"process {pid}" if pid else "another process"
    return f"port {port} is in use by {owner}: stop it, or choose another port with `--port`"


def _owners_by_psutil(port: int) -> Iterator[int | None]:
    with suppress(ImportError, OSError):
        psutil: Any = importlib.import_module("psutil")
        with suppress(psutil.Error):
            for connection in psutil.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    yield connection.pid


def _owners_by_proc(port: int) -> Iterator[int]:
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and columns[1].endswith(f":{port:04X}"):
                    inodes.add(f"socket:[{columns[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        with suppress(OSError):
            if str(link.readlink()) in inodes:
                yield int(link.parts[2])
