"""Chooses a server for a conversation: the one that served it, else by rendezvous hashing.

A server with too many requests is passed over, so that a popular one is no bottleneck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

FACTOR: Final = 1.5
"""A server is too busy for its own conversations above this multiple of the other servers' median
load, and for new ones above the median itself. The median rather than the mean, so that one server
that reports nonsense does not change it."""


class Candidate(Protocol):
    """A server that may be chosen."""

    @property
    def address(self) -> str:
        """Its URL."""
        ...

    @property
    def comfortable(self) -> int:
        """Requests with which it is never too busy for a new conversation."""
        ...

    @property
    def capacity(self) -> int:
        """Requests with which it is never too busy for its own conversations."""
        ...

    def load(self, now: float) -> float:
        """Its requests, running and waiting."""
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
    loads = sorted(server.load(now) for server in servers)
    for server in servers:
        own = max(FACTOR * _others(server.load(now), loads), server.capacity, server.comfortable)
        if server.address == last and server.load(now) < own:
            return server
    for server in ranked(key, servers, now):
        load = server.load(now)
        if server.address != last and load < max(_others(load, loads), server.comfortable):
            return server
    return min(servers, key=lambda server: server.load(now))


def _others(load: float, loads: Sequence[float]) -> float:
    """The median load of the other servers, with the request; `loads` are those of all."""
    others = list(loads)
    others.remove(load)
    return others[(len(others) - 1) // 2] + 1 if others else math.inf


def _score(key: bytes, server: Candidate, now: float) -> float:
    digest = blake2b(key + server.address.encode(), digest_size=8).digest()
    share = (int.from_bytes(digest, "big") + 1) / (2**64 + 2)
    return -server.weight(now) / math.log(share)
