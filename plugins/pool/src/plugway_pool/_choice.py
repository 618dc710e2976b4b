"""Chooses a server for a conversation: the one that served it, else by rendezvous hashing.

A server with too many requests is passed over, so that a popular one is no bottleneck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

FACTOR: Final = 1.25
"""A server is busy above this multiple of the other servers' median load. The median rather than
the mean, so that one server that reports nonsense does not change it."""


class Candidate(Protocol):
    """A server that may be chosen."""

    @property
    def address(self) -> str:
        """Its URL."""
        ...

    @property
    def comfortable(self) -> int:
        """Requests with which it is never busy."""
        ...

    def load(self, now: float) -> float:
        """Its requests; waiting ones count more."""
        ...

    def weight(self, now: float) -> float:
        """Its share of new conversations."""
        ...


CandidateT = TypeVar("CandidateT", bound=Candidate)


def ranked(key: bytes, servers: Sequence[CandidateT], now: float) -> list[CandidateT]:
    """The servers in a conversation's own order (weighted rendezvous hashing): if one is removed
    or added, only the conversations that it has or gets move."""
    return sorted(servers, key=lambda server: _score(key, server, now), reverse=True)


def chosen(
    key: bytes, servers: Sequence[CandidateT], last: str | None, now: float
) -> CandidateT | None:
    """The first server in the conversation's order that is not busy; None without servers.

    `last` is the address that served the conversation last: it has the longest part in its cache.
    """
    if not servers:
        return None
    order = ranked(key, servers, now)
    order.sort(key=lambda server: server.address != last)
    loads = sorted(server.load(now) for server in servers)
    for server in order:
        if server.load(now) < max(_limit(server.load(now), loads), server.comfortable):
            return server
    return min(order, key=lambda server: server.load(now))


def _limit(load: float, loads: Sequence[float]) -> float:
    """The load from which on a server with this `load` is busy; `loads` are those of all."""
    others = list(loads)
    others.remove(load)
    if not others:
        return math.inf
    return FACTOR * (others[(len(others) - 1) // 2] + 1)


def _score(key: bytes, server: Candidate, now: float) -> float:
    digest = blake2b(key + server.address.encode(), digest_size=8).digest()
    share = (int.from_bytes(digest, "big") + 1) / (2**64 + 2)
    return -server.weight(now) / math.log(share)
