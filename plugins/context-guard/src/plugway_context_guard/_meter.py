"""Estimates the tokens of a request from its bytes, corrected by the counts of servers.

Characters are counted by class. Each target has a weight per class, which starts at the mean over
public vocabularies; recursive least squares correct it by the `usage` of each reply, and bound the
error of the next estimate. `tests/test_meter.py` checks that with real vocabularies.
"""

from __future__ import annotations

import math
import operator
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import Bounded, MessagesRequest, as_list, as_object
from plugway_context_guard._thoughts import NONE, Thoughts

LEAST_BOUND: Final = 0.06
"""Smallest stated error, relative to the real count: the first request of a conversation may differ
by that much from all requests that a target has counted before."""
MOST_BOUND: Final = 0.3
MOST_PER_BYTE: Final = 0.6
"""Tokens per byte of JSON: no known vocabulary needs more for a whole prompt."""
IMAGE_TOKENS: Final = 1600
DOCUMENT_BYTES_PER_TOKEN: Final = 27
_MAX_TARGETS: Final = 1000

Features = tuple[float, ...]
"""Letters, capitals, digits, signs, spaces, quotes, other characters, line ends; tokens of
content other than text: media, and encrypted reasoning."""

WEIGHTS: Final[Features] = (0.20, 0.33, 1.50, 0.82, 0.20, 0.40, 0.30, 1.30, 1.0)
"""Initial tokens per character of each class."""
_FEWEST: Final[Features] = (0.20, 0.33, 0.40, 0.82, 0.20, 0.40, 0.30, 1.30, 1.0)
"""The same for a vocabulary with tokens of three digits."""
_RUNS: Final = (*(bytes([sign]) for sign in b" =-_*#~.+|/xX0"), b"\\n", b"\\t")
_MOST_FOR_RUNS: Final = 2**21
"""Bytes of a request that are searched for runs, which takes 10 ms per MiB."""
_CLASS_SPREAD: Final = 0.25
"""Standard deviation of a weight between vocabularies, relative to the weight."""
_COMMON_SPREAD: Final = 0.12
"""Standard deviation of all weights together between vocabularies."""
_NOISE: Final = 0.025
"""Error of a count by character classes, relative to the count."""
_SURE: Final = 2.5
"""Standard deviations in the stated bound."""
_FORGETTING: Final = 0.98

_LOWER: Final = string.ascii_lowercase.encode()
_UPPER: Final = string.ascii_uppercase.encode()
_DIGITS: Final = string.digits.encode()
_OTHER: Final = bytes(range(128, 256))


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


class _Scale:
    """The weights of one target, and their uncertainty."""

    __slots__ = ("_spread", "_weights", "digits", "per_byte", "worst")

    def __init__(self) -> None:
        self._weights = list(WEIGHTS)
        self._spread = [
            [
                (_COMMON_SPREAD**2 + (i == j) * _CLASS_SPREAD**2) * a * b
                for j, b in enumerate(WEIGHTS)
            ]
            for i, a in enumerate(WEIGHTS)
        ]
        self.per_byte = 0.0
        """Recent real tokens per byte."""
        self.digits = 0.0
        """Largest share of digits in a counted prompt."""
        self.worst = 0.0
        """Worst recent relative error; it decays."""

    def count(self, features: Features) -> Count:
        """The estimate."""
        tokens = max(1.0, _product(self._weights, features))
        variance = max(0.0, _product(self._along(features), features))
        bound = max(LEAST_BOUND, _SURE * math.sqrt(variance) / tokens, 1.5 * self.worst)
        return Count(round(tokens), min(MOST_BOUND, bound))

    def learn(self, features: Features, tokens: int) -> None:
        """One step of recursive least squares with forgetting."""
        guess = _product(self._weights, features)
        along = self._along(features)
        total = _product(along, features) + (_NOISE * tokens) ** 2
        self.worst = max(self.worst * 0.8, abs(guess / tokens - 1) if self.per_byte else 0.0)
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

    def _shrink(self, index: int, by: float) -> None:
        for other in range(len(WEIGHTS)):
            self._spread[index][other] *= by
            self._spread[other][index] *= by

    def _along(self, features: Features) -> list[float]:
        return [_product(row, features) for row in self._spread]


def _product(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(map(operator.mul, left, right))


class Meter:
    """Estimates, by target."""

    def __init__(self) -> None:
        self._scales: Bounded[str, _Scale] = Bounded(_MAX_TARGETS)
        self._unknown = _Scale()

    def at_most(self, target: str, size: int, thoughts: Thoughts = NONE) -> int:
        """An upper bound on the tokens of a request of `size` bytes without the `apart` of its
        `thoughts`: cheap, but loose."""
        scale = self._scales.get(target)
        share = MOST_PER_BYTE if scale is None else min(MOST_PER_BYTE, scale.per_byte * 1.4)
        return int(size * share + thoughts.tokens * (1 + MOST_BOUND))

    def count(self, target: str, features: Features) -> Count:
        """The estimate for a prompt with these features."""
        return self._scales.get(target, self._unknown).count(features)

    def plain(self, features: Features) -> int:
        """The estimate by public vocabularies alone."""
        return self._unknown.count(features).tokens

    def fewest(self, target: str, request: MessagesRequest, thoughts: Thoughts = NONE) -> int:
        """Tokens of the request in an efficient vocabulary: one for a run of the same sign, and one
        for three digits if the target has not counted as many before."""
        raw, media = _text_and_media(request, thoughts)
        for run in _RUNS if len(raw) <= _MOST_FOR_RUNS else ():
            raw = raw.replace(run * 16, run)
        features = _features(raw, media, thoughts)
        scale = self._scales.get(target)
        if scale is not None and _digits(features) <= scale.digits * 1.5:
            return scale.count(features).least
        return round(_product(_FEWEST, features))

    def learn(self, target: str, tokens: int, size: int, features: Features | None) -> None:
        """Learn from the server's count of a prompt of that size."""
        if tokens < 50 or tokens > size:  # too small to be useful, or not this prompt's count
            return
        if features and not 0.25 <= tokens / _product(WEIGHTS, features) <= 4:
            return
        scale = self._scales.get(target)
        if scale is None:
            scale = self._scales[target] = _Scale()
        if features:
            scale.learn(features, tokens)
            scale.digits = max(scale.digits, _digits(features))
        scale.per_byte = tokens / size


def features_of(request: MessagesRequest, thoughts: Thoughts = NONE) -> Features:
    """The features of a request. Takes about 1 ms per 150 KB."""
    return _features(*_text_and_media(request, thoughts), thoughts)


def _digits(features: Features) -> float:
    return features[2] / max(1.0, sum(features[:-1]))


def _features(raw: bytes, media: float, thoughts: Thoughts) -> Features:
    found = text_features(raw)
    if thoughts.apart:
        apart = text_features(thoughts.apart)
        found = tuple(max(0, all_of - part) for all_of, part in zip(found, apart, strict=True))
    return (*found[:-1], media)


def _text_and_media(request: MessagesRequest, thoughts: Thoughts) -> tuple[bytes, float]:
    """The bytes of the text, and the tokens of other content."""
    raw, tokens = _as_sent(request), thoughts.tokens
    for block in _media(request.body) if b'"base64"' in raw else ():
        data = as_object(block.get("source")).get("data")
        if not isinstance(data, str):
            continue
        raw = raw.replace(data.encode(), b"", 1)
        image = block.get("type") == "image"
        tokens += IMAGE_TOKENS if image else len(data) / DOCUMENT_BYTES_PER_TOKEN
    return raw, tokens


def _as_sent(request: MessagesRequest) -> bytes:
    """The body in the fewest bytes: escapes and white space of the client's JSON do not count."""
    raw = request.raw
    return orjson.dumps(request.body) if b"\\u" in raw or raw[1:2].isspace() else raw


def text_features(raw: bytes) -> Features:
    """The features of JSON text without media.

    Each class is counted by removing it and comparing lengths, so that all of it runs in C.
    """
    lines = raw.count(b"\\n")
    rest = raw.translate(None, _LOWER)
    lower = len(raw) - len(rest) - lines
    small = rest.translate(None, _UPPER)
    upper = len(rest) - len(small)
    spaces, quotes, escapes = small.count(b" "), small.count(b'"'), small.count(b"\\")
    signs = small.translate(None, _DIGITS)
    digits = len(small) - len(signs)
    other = len(signs) - len(signs.translate(None, _OTHER))
    signs_left = len(signs) - spaces - quotes - escapes - other
    return (lower, upper, digits, signs_left, spaces, quotes, other, lines, 0.0)


def _media(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in as_list(body.get("messages")):
        for block in map(as_object, as_list(as_object(message).get("content"))):
            if "source" in block:
                yield block
            for inner in map(as_object, as_list(block.get("content"))):
                if "source" in inner:
                    yield inner
