"""One request in MLX: how its next token is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from plugway_local_engine.engine import Job
from plugway_mlx import _mlx
from plugway_mlx._mlx import Array

if TYPE_CHECKING:
    from plugway_local_engine.engine import Sampling

_REWIND_TEMPERATURE: Final = 0.7
"""Some temperature and another seed after a rewind: the same choice would repeat the mistake."""


@dataclass(slots=True, eq=False)
class MlxJob(Job):
    """A request in the engine."""

    sampling: Sampling = field(init=False)
    logits: Array | None = None
    """Logits of the next token, 1 by vocabulary, while the job is in no group."""
    drawn: int = 0
    """Number of random choices so far."""

    def __post_init__(self) -> None:
        Job.__post_init__(self)
        self.sampling = self.wishes.sampling

    def choose(self, logits: Array) -> Array:
        """The next token as an array of one; not evaluated yet."""
        if self.output.restricted:
            allowed = np.zeros(logits.shape[-1], np.float32)
            self.output.restrict(allowed)
            logits = logits.astype(_mlx.mx.float32) + _mlx.mx.array(allowed)
        if self.sampling.greedy:
            return _mlx.mx.argmax(logits, axis=-1)
        self.drawn += 1
        # Each request has a random sequence of its own, whatever is computed next to it.
        key = _mlx.mx.random.key(self.sampling.seed + (self.drawn << 32))
        return self._draw(logits.astype(_mlx.mx.float32), key)

    def _draw(self, logits: Array, key: Array) -> Array:
        """One of the likely tokens. mlx-lm's own filters are compiled on their first use, which on
        the CPU needs a C++ compiler and many seconds."""
        mx, sampling, size = _mlx.mx, self.sampling, logits.shape[-1]
        most = min(sampling.top_k or size, size)
        tokens = mx.argpartition(-logits, kth=most - 1, axis=-1)[:, :most]
        order = mx.argsort(-mx.take_along_axis(logits, tokens, axis=-1), axis=-1)
        tokens = mx.take_along_axis(tokens, order, axis=-1)
        kept = mx.take_along_axis(logits, tokens, axis=-1)
        shares = mx.softmax(kept, axis=-1)
        before = mx.cumsum(shares, axis=-1) - shares
        likely = (before < sampling.top_p) & (shares >= sampling.min_p * shares[:, :1])
        kept = mx.where(likely, kept / sampling.temperature, -mx.inf)
        place = mx.random.categorical(kept, axis=-1, key=key)
        return mx.take_along_axis(tokens, place[:, None], axis=-1)[:, 0]

    def choose_differently(self) -> None:
        """Another seed, and some temperature."""
        settings = self.sampling
        warm = max(settings.temperature, _REWIND_TEMPERATURE)
        self.sampling = replace(settings, temperature=warm, seed=settings.seed ^ 1)

    def close(self) -> None:
        """Drop what was computed for the next token."""
        self.logits = None
