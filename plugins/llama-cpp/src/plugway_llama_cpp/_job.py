"""One request in llama.cpp: with its sampler, and its luck in guessing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from plugway_llama_cpp._binding import Sampler
from plugway_llama_cpp._guess import Luck
from plugway_local_engine.engine import Job

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Context
    from plugway_local_engine.engine import Logits

_REWIND_TEMPERATURE: Final = 0.7
"""Another seed after a rewind, because the same choice would repeat the mistake."""


@dataclass(slots=True, eq=False)
class LlamaJob(Job):
    """A request in the engine."""

    luck: Luck = field(default_factory=Luck)
    sampler: Sampler | None = field(init=False)

    def __post_init__(self) -> None:
        Job.__post_init__(self)
        sampling = self.wishes.sampling
        self.sampler = None if sampling.greedy else Sampler(sampling)

    def choose(self, context: Context, logits: Logits, index: int) -> int:
        """The next token, from the row of the last output; `index` is its place in the batch."""
        if self.output.restricted:
            self.output.restrict(logits)
        if self.sampler is None:
            return int(logits.argmax())
        return self.sampler.sample(context, index)

    def choose_differently(self) -> None:
        """Another seed, and some temperature."""
        self.close()
        settings = self.wishes.sampling
        warm = max(settings.temperature, _REWIND_TEMPERATURE)
        self.sampler = Sampler(replace(settings, temperature=warm, seed=settings.seed ^ 1))

    def final_notes(self) -> list[str]:
        """How many guesses were right."""
        return self.luck.notes()

    def close(self) -> None:
        """Free native resources."""
        if self.sampler is not None:
            self.sampler.close()
            self.sampler = None
