"""Audit events for what an event loop does itself.

uvloop connects, resolves names and starts processes in C, without audit events. So its methods
raise them here, on the loop that runs.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final
from weakref import WeakSet

Resolved = Callable[[str, Iterable[str]], None]
"""Is called with a name and its addresses."""

_watched: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()


def raise_events(loop: asyncio.AbstractEventLoop, resolved: Resolved) -> bool:
    """Let the methods of `loop` raise audit events; returns whether that is possible."""
    if loop in _watched:
        return True
    events: dict[str, Callable[..., tuple[Any, ...] | None]] = {
        "create_connection": _connects,
        "create_datagram_endpoint": _sends,
        "create_unix_connection": _joins,
        "sock_connect": _joins,
        "subprocess_exec": _starts,
        "subprocess_shell": _runs,
    }
    try:
        for name, event in events.items():
            setattr(loop, name, _with_event(getattr(loop, name), event))
        setattr(loop, "getaddrinfo", _with_names(loop.getaddrinfo, resolved))  # noqa: B010
    except AttributeError:  # a loop that is written in C through and through
        return False
    _watched.add(loop)
    return True


def record_names(resolved: Resolved) -> None:
    """Let `socket.getaddrinfo` say which addresses a name has: events have the name or the address.
    Once per process."""
    inner = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        found = inner(host, *args, **options)
        if isinstance(host, str):
            resolved(host, _addresses(found))
        return found

    setattr(socket, "getaddrinfo", getaddrinfo)  # noqa: B010


def _with_names(inner: Any, resolved: Resolved) -> Any:
    async def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        sys.audit("socket.getaddrinfo", host)
        found = await inner(host, *args, **options)
        if isinstance(host, str):
            resolved(host, _addresses(found))
        return found

    return getaddrinfo


def _addresses(found: Iterable[tuple[Any, ...]]) -> list[str]:
    return [str(item[4][0]) for item in found]


def _with_event(inner: Any, event: Callable[..., tuple[Any, ...] | None]) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        try:
            found = event(*args, **options)
        except (TypeError, IndexError):  # called in a wrong way, which it says itself
            found = None
        if found is not None:
            sys.audit(*found)
        return inner(*args, **options)

    return call


def _connects(
    make: object, host: object = None, port: object = None, **_: object
) -> tuple[Any, ...] | None:
    return _event("socket.connect", (host, port)) if host else None


def _sends(
    make: object, local_addr: object = None, remote_addr: object = None, **_: object
) -> tuple[Any, ...] | None:
    return _event("socket.connect", remote_addr)


def _event(name: str, address: object) -> tuple[Any, ...] | None:
    return (name, None, address) if address else None


def _joins(what: object, address: object = None, **_: object) -> tuple[Any, ...] | None:
    return _event("socket.connect", address)


def _starts(make: object, program: object, *_: object, **__: object) -> tuple[Any, ...]:
    return ("subprocess.Popen", program, None, None, None)


def _runs(make: object, command: object, **_: object) -> tuple[Any, ...]:
    return _starts(make, "sh")
