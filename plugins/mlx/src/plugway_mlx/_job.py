"""One request in MLX: how its next token is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from plugway_local_engine.engine import Job
from plugway_mlx import _mlx
from plugway_mlx._mlx import Array, mx

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
            logits = logits.astype(mx.float32) + mx.array(allowed)
        if self.sampling.greedy:
            return mx.argmax(logits, axis=-1)
        self.drawn += 1
        # Each request has a random sequence of its own, whatever is computed next to it.
        key = mx.random.key(self.sampling.seed + (self.drawn << 32))
        return mx.random.categorical(self._likely(logits), key=key)

    def _likely(self, logits: Array) -> Array:
        """The logits with all but the likeliest set to `-inf`, divided by the temperature."""
        sampling = self.sampling
        logits = logits.astype(mx.float32)
        logits = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        if 0 < sampling.top_k < logits.shape[-1]:
            logits = _mlx.sampling.apply_top_k(logits, sampling.top_k)
        if sampling.top_p < 1:
            logits = _mlx.sampling.apply_top_p(logits, sampling.top_p)
        if sampling.min_p > 0:
            logits = _mlx.sampling.apply_min_p(logits, sampling.min_p)
        return logits / sampling.temperature

    def choose_differently(self) -> None:
        """Another seed, and some temperature."""
        settings = self.sampling
        warm = max(settings.temperature, _REWIND_TEMPERATURE)
        self.sampling = replace(settings, temperature=warm, seed=settings.seed ^ 1)

    def close(self) -> None:
        """Drop what was computed for the next token."""
        self.logits = None
