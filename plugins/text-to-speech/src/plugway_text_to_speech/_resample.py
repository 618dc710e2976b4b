"""Changes the rate of a stream of 16-bit samples, by a windowed sinc filter."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

_HALF: Final = 16
"""Input samples on each side of an output sample."""


class Resampler:
    """One stream."""

    def __init__(self, source: int, target: int) -> None:
        common = math.gcd(source, target)
        self._up, self._down = target // common, source // common
        taps: Any = np.arange(-_HALF + 1, _HALF + 1)
        shift: Any = np.arange(self._up)[:, None] / self._up
        distance = taps[None, :] - shift
        cutoff = min(1.0, target / source)
        window = np.cos(np.clip(distance / _HALF, -1, 1) * np.pi / 2) ** 2
        filters = np.sinc(distance * cutoff) * window * cutoff
        self._filters: Any = filters / filters.sum(axis=1, keepdims=True)
        self._kept: Any = np.zeros(_HALF - 1, np.float64)
        self._at = 0
        """Position of the next output sample, in steps of 1 / `up` input samples, from the first
        input sample that has all of its neighbours."""
        self._odd = b""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """What can be computed with this data, too; with `last`, the rest."""
        data = self._odd + data
        even = len(data) // 2 * 2
        self._odd = data[even:]
        fresh = np.frombuffer(data[:even], "<i2").astype(np.float64)
        if last:
            fresh = np.concatenate([fresh, np.zeros(_HALF)])
        kept = np.concatenate([self._kept, fresh])
        ready = len(kept) - 2 * _HALF + 1  # input samples with all neighbours
        count = max(0, -(-(ready * self._up - self._at) // self._down))
        steps: Any = self._at + np.arange(count) * self._down
        whole, phase = steps // self._up, steps % self._up
        around = kept[whole[:, None] + np.arange(2 * _HALF)[None, :]]
        out = np.einsum("ij,ij->i", around, self._filters[phase])
        self._at += count * self._down
        used = min(max(0, ready), self._at // self._up)
        self._kept = kept[used:]
        self._at -= used * self._up
        return np.clip(np.rint(out), -32768, 32767).astype("<i2").tobytes()
