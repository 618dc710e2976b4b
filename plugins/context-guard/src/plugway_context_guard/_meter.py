"""Estimates the tokens of a request from its `Features`, corrected by the counts of servers.

Each target has a weight per feature, which starts at the mean over public vocabularies; recursive
least squares correct it by the `usage` of each reply, and bound the error of the next estimate.
`tests/test_meter.py` checks that with real vocabularies, and the repository's
`tests/wire/test_windows.py` for each kind of text.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plugway import Bounded, MessagesRequest
from plugway_context_guard._features import ENCODED, IMAGE_TOKENS, NOTHING, Features
from plugway_context_guard._thoughts import NONE, Thoughts

LEAST_BOUND: Final = 0.06
"""Smallest stated error, relative to the real count: the first request of a conversation may differ
by that much from all requests that a target has counted before."""
MOST_BOUND: Final = 0.3
_MAX_TARGETS: Final = 1000

WEIGHTS: Final[Features] = (
    *(0.165, 0.26, 1.19, 0.80, 0.22, 0.60),
    *(0.41, 0.72, 1.19, 0.03, 8.5, 1.0),
)
"""Tokens for each feature, before a target has taught better: least squares over vocabularies in
use and kinds of text."""
_FEWEST: Final[Features] = (
    *(0.145, 0.20, 0.40, 0.50, 0.14, 0.50),
    *(0.22, 0.25, 0.80, 0.0, 7.0, 0.04),
)
"""The same for the vocabulary that is best at each."""
_MOST_KNOWN: Final[Features] = (*(math.inf,) * 6, *WEIGHTS[6:8], *(math.inf,) * 4)
_PLAUSIBLE: Final = 0.5
"""The least count that is believed, relative to the fewest tokens of any vocabulary: a server that
leaves out what it has cached, or has cut, counts less."""
_KNOWN_SHARE: Final = 1.5
"""A class of characters is known at a target that has counted a prompt of which it made so much
less, at most."""
_CLASS_SPREAD: Final = 0.25
"""Standard deviation of a weight between vocabularies, relative to the weight."""
_COMMON_SPREAD: Final = 0.12
"""Standard deviation of all weights together between vocabularies."""
_NOISE: Final = 0.025
"""Error of a count by character classes, relative to the count."""
_SURE: Final = 2.5
"""Standard deviations in the stated bound."""
_FORGETTING: Final = 0.98
_FIRST_PROMPTS: Final = 8
_MOST_TRIES: Final = 32
"""Prompts that are measured to learn from their counts, even if none was plausible."""


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of a prompt; `bound` is the relative error, 0 for an exact count."""

    tokens: int
    bound: float = 0.0

    @property
    def most(self) -> int:
        """Upper end of the estimate."""
        return int(self.tokens * (1 + self.bound)) + 1 if self.bound else self.tokens

    @property
    def least(self) -> int:
        """Lower end of the estimate."""
        return int(self.tokens * (1 - self.bound))

    def __str__(self) -> str:
        return f"{self.tokens} tokens" + (f" ±{self.bound:.0%}" if self.bound else "")


def _first_spread() -> list[list[float]]:
    return [
        [(_COMMON_SPREAD**2 + (i == j) * _CLASS_SPREAD**2) * a * b for j, b in enumerate(WEIGHTS)]
        for i, a in enumerate(WEIGHTS)
    ]


class _Scale:
    """The weights of one target, and their uncertainty."""

    __slots__ = ("_shares", "_spread", "_weights", "learned", "tools", "tries", "worst")

    def __init__(self) -> None:
        self._weights = list(WEIGHTS)
        self._spread = _first_spread()
        self._shares = NOTHING
        """The largest share of each class in a prompt that was counted."""
        self.tools = False
        """Whether one of them had tools, and they were counted."""
        self.tries = 0
        """Prompts whose count was looked at."""
        self.learned = 0
        """Prompts of known features that were counted."""
        self.worst = 0.0
        """Worst recent relative error; it decays."""

    def count(self, features: Features) -> Count:
        """The estimate."""
        tokens = max(1.0, _product(self._weights, features))
        variance = max(0.0, _product(self._along(features), features))
        bound = max(LEAST_BOUND, _SURE * math.sqrt(variance) / tokens, 1.5 * self.worst)
        return Count(round(tokens), min(MOST_BOUND, bound))

    def fewest(self, features: Features, *, tools: bool) -> int:
        """The estimate at its lower end, with the fewest tokens that a vocabulary makes of each
        class which prompts that were counted here did not have as much of. If none of those had
        `tools`, none of it is known: there are chat templates that leave out most of a tool.

        Characters outside ASCII never count more than the mean over vocabularies: one script may
        need far more than another of the same class, as Ethiopic does where Chinese needs little.
        """
        sure = 1 - self.count(features).bound
        known = (
            share <= _KNOWN_SHARE * most and (self.tools or not tools)
            for share, most in zip(_shares(features), self._shares, strict=True)
        )
        weights = [
            min(weight * sure, most) if is_known else min(weight, least)
            for is_known, weight, most, least in zip(
                known, self._weights, _MOST_KNOWN, _FEWEST, strict=True
            )
        ]
        return round(_product(weights, features))

    def learn(self, features: Features, tokens: int) -> None:
        """One step of recursive least squares with forgetting.

        What is farther off than was stated comes from another model under the same name, or from
        text of another kind: what was sure is not any more.
        """
        guess = _product(self._weights, features)
        error = abs(guess / tokens - 1) if self.learned else 0.0
        if self.learned and abs(guess - tokens) > guess * self.count(features).bound:
            self._spread = _first_spread()
        along = self._along(features)
        total = _product(along, features) + (_NOISE * tokens) ** 2
        self.worst = max(self.worst * 0.8, error)
        gain = [part / total for part in along]
        self._weights = [
            max(0.0, weight + step * (tokens - guess))
            for weight, step in zip(self._weights, gain, strict=True)
        ]
        for row, step in zip(self._spread, gain, strict=True):
            row[:] = [(c - step * part) / _FORGETTING for c, part in zip(row, along, strict=True)]
        for index, weight in enumerate(WEIGHTS):  # forgetting must not exceed the initial variance
            most = (weight**2) * (_COMMON_SPREAD**2 + _CLASS_SPREAD**2)
            if self._spread[index][index] > most:
                self._shrink(index, math.sqrt(most / self._spread[index][index]))
        self.learned += 1
        self._shares = tuple(map(max, self._shares, _shares(features)))

    def _shrink(self, index: int, by: float) -> None:
        for other in range(len(WEIGHTS)):
            self._spread[index][other] *= by
            self._spread[other][index] *= by

    def _along(self, features: Features) -> list[float]:
        return [_product(row, features) for row in self._spread]


def _product(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(map(operator.mul, left, right))


def _shares(features: Features) -> list[float]:
    """How much of a prompt each class makes, by public vocabularies."""
    parts = list(map(operator.mul, WEIGHTS, features))
    whole = max(1.0, sum(parts))
    return [part / whole for part in parts]


def at_most(request: MessagesRequest, thoughts: Thoughts = NONE) -> int:
    """An upper bound on the tokens of a request: cheap, but loose.

    No vocabulary has more tokens than bytes, and some have as many in numbers and signs.
    """
    raw = request.raw
    media = raw.count(b'"base64"') if ENCODED.may_be_in(request, "messages") else 0
    apart = thoughts.tokens * (1 + MOST_BOUND) + media * IMAGE_TOKENS
    return int(len(raw) - len(thoughts.apart) + apart)


class Meter:
    """Estimates, by target."""

    def __init__(self) -> None:
        self._scales: Bounded[str, _Scale] = Bounded(_MAX_TARGETS)
        self._unknown = _Scale()

    def count(self, target: str, features: Features) -> Count:
        """The estimate for a prompt with these features."""
        return self._scales.get(target, self._unknown).count(features)

    def plain(self, features: Features) -> int:
        """The estimate by public vocabularies alone."""
        return self._unknown.count(features).tokens

    def fewest(self, target: str, features: Features, *, tools: bool = False) -> int:
        """The fewest tokens that the prompt can have at the target, as far as that can be known."""
        return self._scales.get(target, self._unknown).fewest(features, tools=tools)

    def counts_tools(self, target: str) -> bool:
        """Whether a prompt with tools was counted there, with more than their names."""
        scale = self._scales.get(target)
        return scale is not None and scale.tools

    def is_new(self, target: str, tokens: int, size: int) -> bool:
        """Whether few prompts of a target were counted, so that this count should be learned."""
        scale = self._scales.get(target)
        few = scale is None or (scale.learned < _FIRST_PROMPTS and scale.tries < _MOST_TRIES)
        return few and _may_be(tokens, size)

    def learn(
        self, target: str, tokens: int, size: int, features: Features, *, tools: bool = False
    ) -> None:
        """Learn from the server's count of a prompt of `size` bytes, if that is plausible.

        A count that only runs of one character explain says nothing of other text.
        """
        if not _may_be(tokens, size):
            return
        scale = self._scales.get(target)
        if scale is None:
            scale = self._scales[target] = _Scale()
        scale.tries += 1
        if tokens >= _PLAUSIBLE * _product(_FEWEST, features):
            scale.learn(features, tokens)
            scale.tools = scale.tools or tools


def _may_be(tokens: int, size: int) -> bool:
    """Whether a count is large enough to be useful, and may be that of a prompt of `size` bytes."""
    return 50 <= tokens <= size
