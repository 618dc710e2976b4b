"""The listening socket, and what to do if it cannot be had.

What is served on it belongs to the server.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

from plugway.http.port_owner import Owner, port_owner
from plugway.types.errors import PlugwayError

__all__ = ["BindError", "bind"]

_BACKLOG = 2048
_OURS_ALONE: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
"""On Windows the latter lets a second process listen on the same port; elsewhere it does not."""


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
        sock.setsockopt(socket.SOL_SOCKET, _OURS_ALONE, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise BindError(_why_not(host, port, error)) from error
    return sock


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {host} port {port}: {error.strerror or error}"
    owner = port_owner(port)
    return f"port {port} is in use by {owner.words}\n{_way_out(owner, port)}"


def _way_out(owner: Owner, port: int) -> str:
    """What to type: the way that the gateway was started by, with a port that is free."""
    free = _free_port(port)
    with_make = "MAKELEVEL" in os.environ  # which `make` sets for what it runs
    other = f"make run PORT={free}" if with_make else f"plugway serve --port {free}"
    if not owner.is_gateway:
        return f"stop it, or use another port: `{other}`"
    return (
        f"this is already a gateway: `plugway claude --port {port}` uses it, "
        f"`plugway status --port {port}` shows its state, `kill {owner.pid}` stops it; "
        f"or run another one: `{other}`"
    )


def _free_port(taken: int) -> int:
    """A port near the one that is taken; any that is free where those near are not."""
    for port in (*range(taken + 1, min(taken + 20, 65_536)), 0):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return int(tried.getsockname()[1])
    return taken
