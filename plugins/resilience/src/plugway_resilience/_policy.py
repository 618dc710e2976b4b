"""What a failure means: its cause, and whether the same target is retried.

Pure: the time and the random numbers are arguments. `_health` keeps the health of targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

from plugway import BackendError, BackendUnavailable


class Kind(Enum):
    """Failures that are handled alike."""

    UNREACHABLE = auto()
    """Connection refused, name not resolved, or lost before a reply: nothing was done."""
    SERVER = auto()
    """500, 502, 503, 504, 529, the same in a stream, a timeout, or an invalid reply."""
    RATE_LIMIT = auto()
    """429."""
    CREDENTIAL = auto()
    """401, 402, 403."""
    MISSING = auto()
    """404, 501: another target may have the model."""
    CONFLICT = auto()
    """408, 409: a retry may succeed."""
    PERMANENT = auto()
    """Fails until a person fixes it, such as TLS."""
    CALLER = auto()
    """Every other 4xx: the request itself is invalid."""


BLAMED = frozenset({Kind.UNREACHABLE, Kind.SERVER})
"""Failures that count against the target."""

_CREDENTIAL = frozenset((401, 402, 403))
_BY_STATUS = {
    **dict.fromkeys(_CREDENTIAL, Kind.CREDENTIAL),
    429: Kind.RATE_LIMIT,
    404: Kind.MISSING,
    501: Kind.MISSING,
    408: Kind.CONFLICT,
    409: Kind.CONFLICT,
}


def kind_of(failure: BackendError) -> Kind:
    """The kind of a failure."""
    if failure.permanent and failure.status not in _CREDENTIAL:
        return Kind.PERMANENT
    if isinstance(failure, BackendUnavailable) and failure.status == 503:
        return Kind.UNREACHABLE
    known = _BY_STATUS.get(failure.status)
    return known or (Kind.SERVER if failure.status >= 500 else Kind.CALLER)


def retry_after_of(failure: BackendError, wall: float) -> float | None:
    """Seconds that the upstream asks to wait, or None; `wall` is the current Unix time."""
    if failure.retry_after is not None:
        return max(0.0, failure.retry_after)
    text = next((value for name, value in failure.headers if name == "retry-after"), "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text[:20])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(wall, UTC)).total_seconds())


@dataclass(frozen=True, slots=True)
class RepeatRules:
    """When the same target is retried."""

    repeats: int = 1
    min_seconds: float = 0.25
    max_seconds: float = 0.5
    connect_seconds: tuple[float, ...] = (0.1, 0.4)
    rate_limit_seconds: float = 2.0

    def delay(
        self,
        kind: Kind,
        *,
        made: int,
        last: bool,
        local: bool,
        retry_after: float | None,
        chance: Callable[[], float],
    ) -> float | None:
        """Seconds until the retry, or None for no retry.

        `made` is the number of retries so far; `last` means that no other target is left.
        """
        if kind is Kind.UNREACHABLE:
            waits = () if local or not last else self.connect_seconds
            return waits[made] if made < len(waits) else None
        if made >= self.repeats:
            return None
        if kind is Kind.CONFLICT or (kind is Kind.SERVER and last):
            return self.min_seconds + (self.max_seconds - self.min_seconds) * chance()
        if kind is Kind.RATE_LIMIT and last and retry_after is not None:
            return retry_after if retry_after <= self.rate_limit_seconds else None
        return None


class Budget:
    """Limits the share of retries, so that they do not overload a backend that is recovering.

    A fallback does not count, because it is the first request to another backend.
    """

    def __init__(self, share: float, least: int) -> None:
        self._share = share
        self._least = least
        self.waiting = 0
        """Requests that are waiting for their first content."""
        self.repeating = 0
        """Those of them that are waiting for a retry."""

    def allows(self) -> bool:
        """Whether one more retry is allowed now."""
        return self.repeating < max(self._least, self._share * self.waiting)
