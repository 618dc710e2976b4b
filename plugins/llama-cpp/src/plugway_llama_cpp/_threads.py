"""Measure, during operation, the number of threads that decodes few tokens fastest.

For a small model, or on a busy machine, threads that wait for each other after every operation take
longer than they save; and that changes from minute to minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Final

FEW: Final = 8
"""Maximum tokens that count as few; prompts are always computed with all threads."""
_FIRST_TRIAL: Final = 256
_LAST_TRIAL: Final = 8192
_TRIAL: Final = 6
_HOPELESS: Final = 2.5
_BETTER: Final = 0.97
_STALL: Final = 4.0
_MANY_STALLS: Final = 2.0
"""Number of recent stalled steps, decayed, after which other programs are assumed to need cores."""


@dataclass(slots=True)
class _Race:
    """A thread count in use, and another that is tried now and then."""

    used: int
    other: int
    typical: float = 0.0
    steps: int = 0
    wait: int = _FIRST_TRIAL
    trial: int = 0
    tried: list[float] = field(default_factory=list[float])
    stalls: float = 0.0

    def choose(self) -> int:
        return self.other if self.trial else self.used

    def report(self, seconds: float) -> None:
        if self.trial:
            self._tried(seconds)
            return
        if self.used > self.other and self.typical and seconds > _STALL * self.typical:
            self._stalled()
            return
        self.stalls *= 0.95
        if not self.typical:
            self.typical = seconds
        else:  # moves toward the median, by a fixed factor, so that outliers do not matter
            self.typical *= 1.02 if seconds > self.typical else 1 / 1.02
        self.steps += 1
        if self.steps >= self.wait:
            self.steps, self.trial, self.tried = 0, _TRIAL, []

    def _stalled(self) -> None:
        self.stalls += 1
        if self.stalls > _MANY_STALLS:
            self.used, self.other = self.other, self.used
            self.typical, self.stalls, self.steps = 0.0, 0.0, 0
            self.wait = max(self.wait, 4 * _FIRST_TRIAL)

    def _tried(self, seconds: float) -> None:
        self.trial -= 1
        self.tried.append(seconds)
        # A single delayed step proves nothing, and the first step includes the change of threads.
        usual = median(self.tried)
        if len(self.tried) > 1 and min(self.tried) > _HOPELESS * self.typical:
            self._lost()
        elif self.trial == 0 and usual < _BETTER * self.typical:
            self.used, self.other = self.other, self.used
            self.typical, self.wait = usual, _FIRST_TRIAL
        elif self.trial == 0:
            self._lost()

    def _lost(self) -> None:
        self.trial = 0
        self.wait = min(2 * self.wait, _LAST_TRIAL)


class Threads:
    """The number of threads for the next decode, measured separately for one token and for few."""

    def __init__(self, threads: int, first: int) -> None:
        """`first` is the number that was faster when the model was loaded."""
        self.all = threads
        other = 1 if first == threads else threads
        self._races = None if threads == 1 else (_Race(first, other), _Race(first, other))

    def choose(self, count: int) -> int:
        """The number of threads for a batch of `count` tokens."""
        if self._races is None or count > FEW:
            return self.all
        return self._races[count > 1].choose()

    def report(self, count: int, seconds: float) -> None:
        """Record the duration of that batch."""
        if self._races is not None and count <= FEW:
            self._races[count > 1].report(seconds)
