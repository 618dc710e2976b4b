"""How many prompt tokens are computed at once, so that a round stays short on a slow machine."""

from __future__ import annotations

from typing import Final

STEP_SECONDS: Final = 1.0
"""Target duration of a round: a cancel may have to wait for one if it cannot be aborted."""
_FIRST: Final = 128
_LEAST: Final = 16
_MEANINGFUL: Final = 32
"""Tokens of a round from which its duration says something about the next one."""


class Pace:
    """The speed of the last prompt."""

    def __init__(self) -> None:
        self._seconds_per_token = 0.0

    def size(self, most: int) -> int:
        """Number of prompt tokens for the next round, at most `most`."""
        if not self._seconds_per_token:
            return min(most, _FIRST)
        return min(most, max(_LEAST, int(STEP_SECONDS / self._seconds_per_token)))

    def report(self, tokens: int, seconds: float) -> None:
        """Record the duration of a round."""
        if tokens > _MEANINGFUL:
            self._seconds_per_token = seconds / tokens
