"""Estimates tokens of a request from its bytes, and gets better by what servers really counted.

Characters are counted by class. Each target has a weight for each class, beginning with means over
public vocabularies; recursive least squares correct them by the `usage` of each answer, and tell
how far the next estimate may be off. `tests/test_meter.py` holds it to that with real vocabularies.
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
"""No estimate is held for better than this, relative to the real count: by so much the first
request of a conversation may differ from all that a target has counted before."""
MOST_BOUND: Final = 0.3
MOST_PER_BYTE: Final = 0.6
"""Tokens for a byte of JSON that no known vocabulary takes for a whole prompt."""
IMAGE_TOKENS: Final = 1600
DOCUMENT_BYTES_PER_TOKEN: Final = 27
_MAX_TARGETS: Final = 1000

Features = tuple[float, ...]
"""Letters, capitals, digits, signs, spaces, quotes, other characters, line ends; tokens of what
is no text: media, and encrypted reasoning."""

WEIGHTS: Final[Features] = (0.20, 0.33, 1.50, 0.82, 0.20, 0.40, 0.30, 1.30, 1.0)
"""Tokens for each, before a target has taught better."""
_FEWEST: Final[Features] = (0.20, 0.33, 0.40, 0.82, 0.20, 0.40, 0.30, 1.30, 1.0)
"""The same where a vocabulary has tokens of three digits."""
_RUNS: Final = (*(bytes([sign]) for sign in b" =-_*#~.+|/xX0"), b"\\n", b"\\t")
_MOST_FOR_RUNS: Final = 2**21
"""Bytes of a request in which runs are looked for: it takes 10 ms for each MiB."""
_CLASS_SPREAD: Final = 0.25
"""How far vocabularies differ in one class, relative to its weight."""
_COMMON_SPREAD: Final = 0.12
"""How far they differ as a whole."""
_NOISE: Final = 0.025
"""What classes of characters cannot tell of one prompt, relative to the count."""
_SURE: Final = 2.5
"""Standard deviations that the stated bound has."""
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
        """The most that it can be."""
        return int(self.tokens * (1 + self.bound)) + 1 if self.bound else self.tokens

    @property
    def least(self) -> int:
        """The least that it can be."""
        return int(self.tokens * (1 - self.bound))

    def __str__(self) -> str:
        return f"{self.tokens} tokens" + (f" ±{self.bound:.0%}" if self.bound else "")


class _Scale:
    """The weights of one target, and how sure they are."""

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
        """Real tokens for a byte, lately."""
        self.digits = 0.0
        """The largest share of digits in a prompt that was counted."""
        self.worst = 0.0
        """The worst relative error lately; it fades."""

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
        for index, weight in enumerate(WEIGHTS):  # forgetting must not make it wilder than at first
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
        """A bound on the tokens of a request of `size` bytes without what is `apart` in its
        `thoughts`: it costs nothing, and is loose."""
        scale = self._scales.get(target)
        share = MOST_PER_BYTE if scale is None else min(MOST_PER_BYTE, scale.per_byte * 1.4)
        return int(size * share + thoughts.tokens * (1 + MOST_BOUND))

    def count(self, target: str, features: Features) -> Count:
        """The estimate for a prompt of these features."""
        return self._scales.get(target, self._unknown).count(features)

    def plain(self, features: Features) -> int:
        """The estimate by public vocabularies alone."""
        return self._unknown.count(features).tokens

    def fewest(self, target: str, request: MessagesRequest, thoughts: Thoughts = NONE) -> int:
        """Tokens that a vocabulary which is good at it makes of the request: one of a run of the
        same sign, and of three digits where the target has not counted as many before."""
        raw, media = _text_and_media(request, thoughts)
        for run in _RUNS if len(raw) <= _MOST_FOR_RUNS else ():
            raw = raw.replace(run * 16, run)
        features = _features(raw, media, thoughts)
        scale = self._scales.get(target)
        if scale is not None and _digits(features) <= scale.digits * 1.5:
            return scale.count(features).least
        return round(_product(_FEWEST, features))

    def learn(self, target: str, tokens: int, size: int, features: Features | None) -> None:
        """A prompt of that size was counted by the server."""
        if tokens < 50 or tokens > size:  # too small to tell, or not this prompt's
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
    """The features of a request; about 1 ms for 150 KB."""
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
    """The bytes of what is text, and the tokens of what is none."""
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
    """The body in the fewest bytes: neither escapes nor white space of a client reach a model."""
    raw = request.raw
    return orjson.dumps(request.body) if b"\\u" in raw or raw[1:2].isspace() else raw


def text_features(raw: bytes) -> Features:
    """The same for JSON text without media.

    Each class is counted by what is left when it is taken away, so that all of it runs in C.
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
