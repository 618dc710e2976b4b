"""What an arbiter counts; after a reload, the next one goes on with it.

The exchanges and loads of the configuration that was replaced continue until they end.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from plugway import Bounded
from plugway_memory._owners import Key

_DECISIONS: Final = 20
_MOST_USED: Final = 1_000


@dataclass(slots=True)
class Reservation:
    """Memory of a model that is being loaded."""

    size: int
    """Bytes."""
    holders: int = 0
    """Those who load it, or wait for that."""


def _times() -> Bounded[Key, float]:
    return Bounded(_MOST_USED)


def _newest() -> deque[tuple[float, str]]:
    return deque(maxlen=_DECISIONS)


@dataclass(frozen=True, slots=True)
class Shared:
    """The counts; times are those of the arbiter's clock, in seconds."""

    running: Counter[Key] = field(default_factory=Counter[Key])
    """Exchanges by model."""
    used: Bounded[Key, float] = field(default_factory=_times)
    """When the last exchange ended."""
    reserved: dict[Key, Reservation] = field(default_factory=dict[Key, Reservation])
    leaving: set[Key] = field(default_factory=set[Key])
    """Models that are being unloaded."""
    refused_until: Bounded[Key, float] = field(default_factory=_times)
    """Models that could not be unloaded, and until when they are left alone."""
    decisions: deque[tuple[float, str]] = field(default_factory=_newest)
    """When each was made, and what it was."""
