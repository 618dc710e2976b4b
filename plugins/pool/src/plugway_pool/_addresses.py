"""Where the list of servers comes from: the configuration, a DNS name or a file.

`read` returns None if there is no usable list now; the last one is then kept.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from plugway_anthropic_wire import checked_url

MAX_SERVERS: Final = 1000
MAX_FILE_BYTES: Final = 2**20
_PORTS: Final = {"http": 80, "https": 443}
RESOLVE_SECONDS: Final = 5.0
"""Time limit for resolving a name."""


class Addresses(Protocol):
    """A list of servers that may change."""

    async def read(self) -> Sequence[str] | None:
        """The servers now; None if that is unknown or empty, which is logged once."""
        ...


def checked_address(address: str, *, with_key: bool) -> str:
    """The address of a server in its one spelling: the same server must not count twice. Raises
    `ValueError` if it is not allowed."""
    parts = urlsplit(checked_url(address, with_key=with_key))
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{ipaddress.ip_address(host)}]"
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def addresses_in(path: Path, *, with_key: bool) -> tuple[list[str], list[str]]:
    """The addresses in a file, and the problems of its lines. Raises `OSError` or `ValueError`."""
    if not path.is_file():  # opening anything else might wait for ever
        raise ValueError("there is no such file")
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError("it is larger than 1 MiB")
    found: dict[str, None] = {}
    problems: list[str] = []
    for number, line in enumerate(raw.decode("utf-8-sig").splitlines(), start=1):
        address = line.partition("#")[0].strip()
        if not address:
            continue
        try:
            found[checked_address(address, with_key=with_key)] = None
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if len(found) > MAX_SERVERS:
        problems.append(f"{path}: only the first {MAX_SERVERS} of {len(found)} servers are used")
    return list(found)[:MAX_SERVERS], problems


class FileAddresses:
    """The addresses in a file, read again when it has changed."""

    def __init__(self, path: Path, log: logging.Logger, *, with_key: bool) -> None:
        self._path = path.expanduser()
        self._log = log
        self._with_key = with_key
        self._seen: object = None

    async def read(self) -> Sequence[str] | None:
        """The valid addresses; None if the file is unchanged, empty or cannot be read."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Sequence[str] | None:
        seen: object = None
        with suppress(OSError):
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen and seen is not None:
            return None
        is_new, self._seen = self._seen != (seen or "gone"), seen or "gone"
        try:
            found, problems = addresses_in(self._path, with_key=self._with_key)
        except (OSError, ValueError) as error:
            if is_new:
                self._log.warning("cannot read the list of servers, keeping the last: %s", error)
            return None
        for problem in problems[:10]:
            self._log.warning("%s; the rest of the list is used", problem)
        if not found:
            self._log.warning("%s lists no servers; keeping the last list", self._path)
        return found or None


class DnsAddresses:
    """All addresses of a name."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        host, _, port = name.rpartition(":")
        self._host, self._port = host, int(port)
        self._log = log
        self._failing = False
        self._resolving: asyncio.Future[list[str]] | None = None

    async def read(self) -> Sequence[str] | None:
        """The addresses; None if the name does not resolve in time, which is logged once."""
        try:
            found = await self._resolved()
        except (OSError, UnicodeError, TimeoutError) as error:
            found, reason = [], str(error) or f"no answer within {RESOLVE_SECONDS:g} s"
        else:
            reason = "it has no address that may be used"
        if found:
            self._failing = False
            return found
        if not self._failing:
            text = "`%s` cannot be resolved (%s); keeping the last list of servers"
            self._log.warning(text, self._host, reason)
        self._failing = True
        return None

    async def _resolved(self) -> list[str]:
        """A resolver that hangs keeps one thread, not one for every try."""
        if self._resolving is None or self._resolving.done():
            self._resolving = asyncio.ensure_future(asyncio.to_thread(self._lookup))
            self._resolving.add_done_callback(lambda done: done.cancelled() or done.exception())
        async with asyncio.timeout(RESOLVE_SECONDS):
            return await asyncio.shield(self._resolving)

    def _lookup(self) -> list[str]:
        entries = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        found: list[str] = []
        for host in sorted({str(entry[4][0]) for entry in entries}):
            url = f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"
            with suppress(ValueError):  # such as that of a cloud's metadata service
                found.append(checked_address(url, with_key=False))
        return found[:MAX_SERVERS]


class FixedAddresses:
    """The addresses in the configuration."""

    async def read(self) -> Sequence[str] | None:
        """None: they do not change."""
        return None
