"""Caches model limits learned from errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from plugway import Bounded

MAX_REMEMBERED: Final = 1000
REMEMBERED_SECONDS: Final = 3600.0
"""A server may return with a larger window; an outdated entry only causes early compaction."""


class Learned:
    """Limits by target (`instance/model`); the oldest entry is evicted first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: Bounded[str, tuple[int, float]] = Bounded(MAX_REMEMBERED)

    def learn(self, target: str, limit: int) -> None:
        """Store the limit reported by `target`."""
        self._known[target] = (limit, self._clock())

    def forget(self, target: str) -> None:
        """Forget what `target` has said."""
        self._known.pop(target, None)

    def get(self, target: str) -> int:
        """The limit, or 0."""
        limit, when = self._known.get(target, (0, 0.0))
        return limit if limit and self._clock() - when < REMEMBERED_SECONDS else 0

    def age(self, target: str) -> float:
        """Seconds since `target` reported it."""
        return self._clock() - self._known[target][1]
