"""Measured speeds and failures of each target, from the ends of exchanges.

Prefill is what was not read from a cache, over the time to the first content; decode is what came
after it. The mean forgets: ten exchanges ago counts for a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from plugway import Bounded, Outcome

MAX_TARGETS: Final = 500
LEAST_PREFILL_TOKENS: Final = 200
"""Below this, the time to the first content says more about the way than about the speed."""
LEAST_DECODE_TOKENS: Final = 16
LEAST_DECODE_SECONDS: Final = 0.05
_WEIGHT: Final = 0.1
_FASTEST: Final = 10e6
_FAILING: Final = 2
"""Failures in a row after which a target counts as failing."""
FAILING_SECONDS: Final = 300.0
"""After this time without another failure it counts as well again."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured of a target. Tokens per second; 0 where nothing was measured."""

    prefill: float = 0.0
    decode: float = 0.0
    first_seconds: float = 0.0
    """Time to the first content of prompts too short to tell a speed, or read from a cache."""
    exchanges: int = 0
    failures: int = 0
    """In a row, up to now."""
    failed_at: float = 0.0
    """The last failure, in seconds since 1970."""

    def failing(self, now: float) -> bool:
        """It has failed at least twice in a row, the last time within five minutes."""
        return self.failures >= _FAILING and now - self.failed_at < FAILING_SECONDS

    def seconds(self, fresh_tokens: int, answer_tokens: int) -> float | None:
        """Expected time of an answer to a prompt of which so much is not in a cache."""
        if not self.decode or not (self.prefill or self.first_seconds):
            return None
        before = fresh_tokens / self.prefill if self.prefill else self.first_seconds
        return max(before, self.first_seconds) + answer_tokens / self.decode


class Speeds:
    """Speeds by target, bounded."""

    def __init__(self) -> None:
        self._targets: Bounded[str, Speed] = Bounded(MAX_TARGETS)

    def __getitem__(self, target: str) -> Speed:
        return self._targets.get(target, Speed())

    def __len__(self) -> int:
        return len(self._targets)

    def learn(self, target: str, outcome: Outcome, *, streamed: bool, now: float) -> None:
        """Take in the end of an exchange. One that the client broke off says nothing."""
        old = self[target]
        if outcome.kind == "completed":
            new = _measured(old, outcome) if streamed else old
            new = replace(new, exchanges=old.exchanges + 1, failures=0)
        elif outcome.kind == "failed" or outcome.status >= 500:
            new = replace(old, failures=old.failures + 1, failed_at=now)
        else:
            return
        self._targets[target] = new

    def dump(self) -> dict[str, dict[str, Any]]:
        """Everything, JSON-ready."""
        return {target: asdict(speed) for target, speed in self._targets.items()}

    def take(self, dumped: Mapping[str, Any]) -> None:
        """What `dump` gave, where it is sound; what was measured since then stays."""
        for target, fields in list(dumped.items())[:MAX_TARGETS]:
            try:
                speed = Speed(**{name: _number(value) for name, value in fields.items()})
            except (TypeError, ValueError, AttributeError):
                continue
            self._targets.setdefault(target, speed)


def _number(value: object) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise ValueError
    return value


def _measured(old: Speed, outcome: Outcome) -> Speed:
    first = outcome.first_content_seconds
    usage = outcome.usage
    if not first or first <= 0:
        return old
    fresh = usage.input_tokens + usage.cache_creation_tokens
    new = old
    if fresh >= LEAST_PREFILL_TOKENS:
        new = replace(new, prefill=_mean(old.prefill, fresh / first))
    else:
        new = replace(new, first_seconds=_mean(old.first_seconds, first))
    rest = outcome.seconds - first
    if usage.output_tokens >= LEAST_DECODE_TOKENS and rest >= LEAST_DECODE_SECONDS:
        new = replace(new, decode=_mean(old.decode, usage.output_tokens / rest))
    return new


def _mean(old: float, value: float) -> float:
    value = min(value, _FASTEST)
    return value if not old else old + _WEIGHT * (value - old)
