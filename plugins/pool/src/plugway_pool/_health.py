"""Whether a server gets requests: ejected after failures, and back with a growing share.

Pure: the time is an argument.
"""

from __future__ import annotations

from typing import Final

FAILURES: Final = 2
"""Failures in a row after which a server is ejected; one is enough if it cannot be reached."""
FIRST_SECONDS: Final = 5.0
"""How long it is ejected at first; each further time doubles that."""
MOST_SECONDS: Final = 120.0
RETURN_SECONDS: Final = 30.0
"""How long its share of new conversations grows after it has returned."""
_LEAST_WEIGHT: Final = 0.1


class Health:
    """The health of one server."""

    def __init__(self) -> None:
        self.ejected_until: float | None = None
        """Earliest time of its return; None while it gets requests."""
        self.failures = 0
        """Failures in a row."""
        self.reason = ""
        """What its last failure was."""
        self._ejections = 0
        self._returned_at = float("-inf")

    @property
    def available(self) -> bool:
        """Whether it is not ejected."""
        return self.ejected_until is None

    def failed(self, now: float, reason: str, *, unreachable: bool = False) -> bool:
        """A request or a check failed because of the server; returns whether that ejected it."""
        self.reason = reason
        self.failures += 1
        if self.ejected_until is not None or not (unreachable or self.failures >= FAILURES):
            return False
        seconds = FIRST_SECONDS * 2 ** min(self._ejections, 10)
        self.ejected_until = now + min(seconds, MOST_SECONDS)
        self._ejections += 1
        return True

    def succeeded(self, now: float) -> bool:
        """It served a request; returns whether it was ejected until now."""
        self.failures = 0
        if self.ejected_until is not None:
            self._return(now)
            return True
        if now - self._returned_at > RETURN_SECONDS:
            self._ejections = 0
        return False

    def is_due(self, now: float) -> bool:
        """Whether it is ejected and may return if it responds."""
        return self.ejected_until is not None and now >= self.ejected_until

    def responded(self, now: float) -> bool:
        """It responded to a check; returns whether that ended its ejection."""
        if not self.is_due(now):
            return False
        self.failures = 0
        self._return(now)
        return True

    def weight(self, now: float) -> float:
        """Its share of new conversations, relative to the others."""
        grown = (now - self._returned_at) / RETURN_SECONDS
        return min(1.0, max(_LEAST_WEIGHT, grown))

    def _return(self, now: float) -> None:
        self.ejected_until = None
        self._returned_at = now
