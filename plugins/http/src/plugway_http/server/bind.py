"""The listening socket, with a helpful error if the port is in use.

`SO_REUSEPORT` is never set, so no second process can share the port.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from contextlib import suppress

from plugway_http.server.port_owner import Owner, port_owner
from plugway_log import Recorded

__all__ = ["BindError", "bind"]

_BACKLOG = 2048
_TWINS = {"127.0.0.1": "::1", "0.0.0.0": "::1", "::1": "127.0.0.1"}  # noqa: S104 - compared
_TWIN_SECONDS = 0.2
_EXCLUSIVE: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
"""On Windows `SO_REUSEADDR` would let a second process listen on the same port."""


log = logging.getLogger("plugway.server")


class BindError(Recorded):
    """Cannot listen on the address; the message names its owner and a fix."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on exactly this address. Raises `BindError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # Explicit TCP, because asyncio sets TCP_NODELAY only if it sees it. Without TCP_NODELAY
        # responses are delayed by 40 ms (`test_answers_on_a_kept_connection_do_not_wait`).
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise BindError(f"cannot listen on host {host!r}: {error}") from error
    try:
        _check_twin(str(address[0]), port)
        sock.setsockopt(socket.SOL_SOCKET, _EXCLUSIVE, 1)
        if address[0] == "::":  # IPv4 too, whatever the system's default
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BindError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise BindError(_why_not(host, port, error)) from error
    return sock


def _check_twin(address: str, port: int) -> None:
    """Raise `BindError` if another gateway has the other address that `localhost` may mean: its
    clients and ours would reach one or the other by chance. Another program causes a warning."""
    other = _TWINS.get(address)
    if other is None or port == 0:
        return
    with suppress(OSError):
        socket.create_connection((other, port), _TWIN_SECONDS).close()
        owner = port_owner(port)
        reason = f"port {port} of {other} is in use by {owner.description}, and `localhost` may "
        reason += "mean either"
        if owner.is_gateway:
            raise BindError(f"{reason}\n{_fix(owner, port)}")
        log.warning("%s: use %s in addresses, or another port", reason, address)


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {host} port {port}: {error.strerror or error}"
    owner = port_owner(port)
    return f"port {port} is in use by {owner.description}\n{_fix(owner, port)}"


def _fix(owner: Owner, port: int) -> str:
    """Commands to type: among them the one that started the gateway, with a free port."""
    free = _free_port(port)
    with_make = "MAKELEVEL" in os.environ  # set by `make`
    other = f"make run PORT={free}" if with_make else f"plugway serve --port {free}"
    if not owner.is_gateway:
        return f"stop it, or use another port: `{other}`"
    return (
        f"it is a gateway: `plugway claude --port {port}` uses it, "
        f"`plugway status --port {port}` shows its state, `kill {owner.pid}` stops it, "
        f"`{other}` runs another one"
    )


def _free_port(taken: int) -> int:
    """A free port above `taken`, or any free port if the next ones are in use."""
    for port in (*range(taken + 1, min(taken + 20, 65_536)), 0):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return int(tried.getsockname()[1])
    return taken
