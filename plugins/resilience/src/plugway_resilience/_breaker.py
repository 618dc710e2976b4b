"""A circuit breaker: whether to try a target, judged by its previous calls.

Pure: the time and the random numbers are arguments. `_policy` defines what counts as a failure.

    closed ── failures in a row, or their share ──► open ── its time is over ──► half open
      ▲                                              ▲                              │
      └──────────── any content ─────────────────────┼────────── the probe fails ───┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_BUCKETS: Final = 6
"""Number of buckets: the window moves in steps of a sixth of its length."""
_JITTER: Final = 0.2
_MAX_DOUBLINGS: Final = 30


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When to open the circuit, and for how long."""

    failures: int = 3
    """Failures in a row."""
    share: float = 0.5
    least_calls: int = 5
    window_seconds: float = 60.0
    open_seconds: float = 5.0
    open_max_seconds: float = 120.0


class Breaker:
    """The circuit of one target."""

    __slots__ = ("_chance", "_consecutive", "_probing", "_rules", "_trips", "_window", "open_until")

    def __init__(self, rules: BreakerRules, chance: Callable[[], float]) -> None:
        """`chance` returns random numbers from 0 to 1."""
        self._rules = rules
        self._chance = chance
        self._window = _Window(rules.window_seconds)
        self._consecutive = 0
        self._trips = 0
        self._probing = False
        self.open_until: float | None = None
        """Earliest time of a probe; None while the circuit is closed."""

    @property
    def closed(self) -> bool:
        """Whether the circuit is closed."""
        return self.open_until is None

    @property
    def failures(self) -> int:
        """Failures in a row; 0 once the circuit is open."""
        return self._consecutive

    @property
    def probing(self) -> bool:
        """Whether a probe is running."""
        return self._probing

    def ready(self, now: float) -> bool:
        """Whether the target may be tried: closed, or due for a probe and none is running."""
        return self.open_until is None or (now >= self.open_until and not self._probing)

    def begin(self, now: float) -> bool:
        """Record that the target is being tried; returns whether this is the probe."""
        if self.open_until is None or not self.ready(now):
            return False
        self._probing = True
        return True

    def release(self) -> None:
        """The probe ended without a verdict: the client disconnected, or caused the error."""
        self._probing = False

    def answered(self) -> None:
        """Content was received: close the circuit, although the call is still running."""
        if self.open_until is not None:
            self._probing = False
            self._trips = self._consecutive = 0
            self.open_until = None

    def succeeded(self, now: float) -> None:
        """The call completed."""
        self._consecutive = 0
        self._window.add(now, failed=False)

    def failed(self, now: float, *, probe: bool) -> bool:
        """The call failed because of the target; returns whether that opened the circuit.

        While the circuit is open, only the probe counts.
        """
        if self.open_until is not None:
            if not probe:
                return False
            self._probing = False
            return self._open(now)
        self._consecutive += 1
        self._window.add(now, failed=True)
        calls, failures = self._window.totals(now)
        rules = self._rules
        in_a_row = self._consecutive >= rules.failures
        too_many = calls >= rules.least_calls and failures >= calls * rules.share
        return self._open(now) if in_a_row or too_many else False

    def _open(self, now: float) -> bool:
        rules = self._rules
        seconds = rules.open_seconds * 2 ** min(self._trips, _MAX_DOUBLINGS)
        seconds *= 1 - _JITTER + 2 * _JITTER * self._chance()
        self.open_until = now + min(seconds, rules.open_max_seconds)
        self._trips += 1
        self._consecutive = 0
        self._window.clear()
        return True


class _Window:
    """Calls and failures of the last `seconds`."""

    __slots__ = ("_buckets", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _BUCKETS
        self._buckets = [[-1, 0, 0] for _ in range(_BUCKETS)]
        """(number of the time slice, calls, failures) of each bucket."""

    def add(self, now: float, *, failed: bool) -> None:
        """Count one call."""
        number = int(now / self._width)
        bucket = self._buckets[number % _BUCKETS]
        if bucket[0] != number:
            bucket[:] = (number, 0, 0)
        bucket[1] += 1
        bucket[2] += failed

    def totals(self, now: float) -> tuple[int, int]:
        """Calls and failures within the window."""
        oldest = int(now / self._width) - _BUCKETS + 1
        live = [bucket for bucket in self._buckets if bucket[0] >= oldest]
        return sum(bucket[1] for bucket in live), sum(bucket[2] for bucket in live)

    def clear(self) -> None:
        """Forget everything."""
        for bucket in self._buckets:
            bucket[:] = (-1, 0, 0)
