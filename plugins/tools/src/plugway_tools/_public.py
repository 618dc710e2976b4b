"""Addresses that a tool may reach: public ones, checked after the name is resolved.

A page, a redirect or a name server can point at this machine, at its network or at a cloud's
metadata service. So the resolved addresses are checked, and the connection goes to one of them.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

import anyio

from plugway_http.client.url import address_of

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 addresses inside IPv6 ones (RFC 6052)."""
_GLOBAL: Final = IPv6Network("2000::/3")
"""All that is assigned to the IPv6 internet. `is_global` also holds for `::127.0.0.1` (RFC 4291),
`fec0::/10` (RFC 3879) and `64:ff9b:1::/48` (RFC 8215)."""


class NotPublic(Exception):
    """A host that tools may not reach; the text says which and why."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the public internet, also as an IPv4 address inside an IPv6 one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo is not None:
            return False
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL:
            return False
    return address.is_global and not address.is_multicast


async def public_addresses(host: str, port: int) -> list[str]:
    """The addresses of `host`, to connect to in this order.

    Raises:
        NotPublic: one of them is not public, or is near (`is_near`); so that no choice among them
            can be forced.
        OSError: the name cannot be resolved.
    """
    found = await resolved(host, port)
    for address in found:
        which = host if host == address else f"{host} is {address}, which"
        if not is_public(ip_address(address)):
            raise NotPublic(f"{which} is not a public address")
        if is_near(address):
            raise NotPublic(f"{which} is an address of this machine or its network")
    return found


def is_near(address: str) -> bool:
    """Whether this machine has the address, or its own network has it, as far as a look at routes
    says: machines at home often have public IPv6 addresses."""
    source = _source(address)
    if source is None or ":" not in address:
        return source == address
    return ip_address(address) in IPv6Network(f"{source}/64", strict=False)


def _source(address: str) -> str | None:
    """The own address that a connection would come from; it is the same for an own address.

    Connecting a datagram socket asks the system for the route and sends nothing.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect((address, 9))
        return str(asking.getsockname()[0]).partition("%")[0]
    return None


async def resolved(host: str, port: int) -> list[str]:
    """All addresses of `host`, each once. Raises OSError if there are none."""
    literal = address_of(host)
    if literal is not None:
        return [str(literal)]
    entries = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = (ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries)
    return list(dict.fromkeys(map(str, found)))
