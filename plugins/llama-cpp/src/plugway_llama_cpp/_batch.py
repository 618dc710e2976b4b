"""The next tokens to compute: what each running request adds to the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Context, Tokens
    from plugway_llama_cpp._job import LlamaJob
    from plugway_local_engine.engine import Slot


class Part(NamedTuple):
    """The part of a batch that belongs to one request."""

    job: LlamaJob
    slot: Slot
    start: int
    size: int
    outputs: int
    """Number of its last tokens that have an output."""
    guesses: tuple[int, ...] = ()
    """Its last tokens if they are guesses of the reply."""


class Batch:
    """Fills the context's batch."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.parts: list[Part] = []
        self.count = 0

    @property
    def room(self) -> int:
        """Number of tokens that may still be added."""
        return self._context.batch - self.count

    def clear(self) -> None:
        """Empty the batch."""
        self.parts, self.count = [], 0

    def put_reply(self, job: LlamaJob, slot: Slot, guesses: Tokens) -> None:
        """Add the last token of a reply and the guesses after it; all have outputs."""
        at, size = self.count, 1 + len(guesses)
        context = self._context
        context.tokens[at] = job.next_token
        context.tokens[at + 1 : at + size] = guesses
        self._place(slot, at, size)
        context.outputs[at : at + size] = 1
        self.parts.append(Part(job, slot, at, size, size, tuple(guesses.tolist())))

    def put_prompt(self, job: LlamaJob, slot: Slot, room: int) -> int:
        """Add the next piece of a prompt, at most `room` tokens and up to its next stop."""
        start, at = slot.length, self.count
        end = min(len(job.prompt), start + room)
        end = min([end, *(stop for stop in job.stops_at if start < stop < end)])
        image = job.next_image()
        if image is not None:
            end = min(end, image[0])
        size = end - start
        if not size:
            return 0
        context = self._context
        context.tokens[at : at + size] = job.prompt[start:end]
        self._place(slot, at, size)
        context.outputs[at : at + size] = 0
        speaks = end == len(job.prompt)
        context.outputs[at + size - 1] = speaks
        self.parts.append(Part(job, slot, at, size, int(speaks)))
        return size

    def _place(self, slot: Slot, at: int, size: int) -> None:
        context, first = self._context, slot.position
        context.positions[at : at + size] = np.arange(first, first + size, dtype=np.int32)
        context.sequences[at : at + size] = slot.index
        self.count += size
