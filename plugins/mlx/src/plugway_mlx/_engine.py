"""The rounds of MLX: one token of all running replies together, then a piece of one prompt.

While a token is computed, the one before it is sent: the next computation starts from the choice
before this process has read it. A token at which a reply ends is therefore computed, too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from plugway_local_engine.engine import EngineLoop, Pace, PrefixCache, Slot, SlotTable
from plugway_mlx import _mlx
from plugway_mlx._job import MlxJob
from plugway_mlx._mlx import Array

if TYPE_CHECKING:
    from plugway_local_engine import Channel
    from plugway_mlx._context import Context
    from plugway_mlx._metal import Metal
    from plugway_mlx._settings import EngineSettings


class Engine(EngineLoop[MlxJob]):
    """Runs all jobs of one model in one thread."""

    def __init__(
        self,
        channel: Channel,
        context: Context,
        slots: SlotTable,
        prefix: PrefixCache,
        settings: EngineSettings,
        metal: Metal,
    ) -> None:
        super().__init__(channel, context, slots, prefix)
        self._context = context
        self._batch = settings.batch
        self._cells = settings.cells
        self._metal = metal
        self._pace = Pace()
        self._group: list[MlxJob] = []
        """The jobs whose next tokens were computed together."""
        self._logits: Array | None = None
        """Their logits, one row for each."""
        self._likeliest: Array | None = None
        """Their next tokens, as far as nothing restricts them and none is drawn."""

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        return self._context.model.piece(token)

    def compute(self) -> bool:
        """One token of each reply that is not paused, and one piece of the oldest prompt."""
        self._keep_room()
        speaking = [j for j in self._running if j.prefilled and j.number not in self._paused]
        if speaking:
            self._speak(speaking)
        reading = next((j for j in self._running if not j.prefilled), None)
        if reading is not None and reading.slot is not None:
            self._read(reading, reading.slot)
        self._sender.flush(self._running)
        return bool(speaking) or reading is not None

    def _keep_room(self) -> None:
        """Give up conversations while the next round may not fit."""
        if self._metal.pressed():
            _mlx.mx.clear_cache()
        while self._running and (
            self._context.tokens + self._batch > self._cells or self._metal.pressed()
        ):
            before = self._context.tokens
            self._make_room()
            _mlx.mx.clear_cache()
            if self._context.tokens == before:
                break

    # Prompts

    def _read(self, job: MlxJob, slot: Slot) -> None:
        start, last = slot.length, len(job.prompt) - 1
        end = min(last, start + self._pace.size(self._batch))
        end = min([end, *(stop for stop in job.stops_at if start < stop < end)])
        if end > start:
            began = time.perf_counter()
            self._context.read(slot.index, job.prompt[start:end])
            self._pace.report(end - start, time.perf_counter() - began)
            slot.append(job.prompt[start:end])
            if end in job.stops_at:
                self._prefix.checkpoint(slot)
        if end == last:
            self._enter(job, slot, int(job.prompt[last]))
            job.prefilled = True
            if job.limit <= 0:
                job.finished = "max_tokens"
                self._finish(job)

    def _enter(self, job: MlxJob, slot: Slot, token: int) -> None:
        """Compute the token before the next one of the reply."""
        job.logits = self._context.start(slot.index, token)
        _mlx.mx.eval(job.logits)
        slot.append(np.array([token], np.int32))

    # Replies

    def _speak(self, jobs: list[MlxJob]) -> None:
        """Choose the next token of each job, start computing the ones after them, and only then
        read what was chosen."""
        tokens = self._choose(jobs)
        slots = [job.slot for job in jobs if job.slot is not None]
        logits = self._context.step(tuple(slot.index for slot in slots), tokens)
        self._group, self._logits = jobs, logits
        self._likeliest = _mlx.mx.argmax(logits, axis=-1)
        _mlx.mx.async_eval(tokens, logits, self._likeliest)
        values: list[int] = tokens.tolist()
        for job, slot, value in zip(jobs, slots, values, strict=True):
            slot.append(np.array([value], np.int32))
            self._accept(job, value)

    def _choose(self, jobs: list[MlxJob]) -> Array:
        plain = all(job.sampling.greedy and not job.output.restricted for job in jobs)
        if plain and jobs == self._group and self._likeliest is not None:
            return self._likeliest
        rows = self._rows(jobs)
        if len(rows) == 1:
            return jobs[0].choose(rows[0])
        return _mlx.mx.concatenate([job.choose(row) for job, row in zip(jobs, rows, strict=True)])

    def _rows(self, jobs: list[MlxJob]) -> list[Array]:
        """The logits of each job, from the group or its own."""
        logits = self._logits
        if logits is not None and jobs == self._group:
            return [logits[place : place + 1] for place in range(len(jobs))]
        for job in list(self._group):
            self.leave(job)
        self._group, self._logits, self._likeliest = [], None, None
        return [job.logits for job in jobs if job.logits is not None]

    def leave(self, job: MlxJob) -> None:
        """Take a job and its logits out of its group."""
        if job.slot is not None:
            self._context.separate(job.slot.index)
        if self._logits is None:
            return
        for place, member in enumerate(self._group):
            if member is job:
                job.logits = self._logits[place : place + 1]

    def _accept(self, job: MlxJob, token: int) -> None:
        job.accept(token, self.piece(token))
        if job.output.rewind is not None and not job.finished:
            self._again(job)
        if job.finished:
            self._finish(job)

    def _again(self, job: MlxJob) -> None:
        slot = job.slot
        assert slot is not None
        self._context.separate(slot.index)
        if self._rewind(job):
            self._enter(job, slot, job.next_token)
            self._set_aside(job)

    def _set_aside(self, job: MlxJob) -> None:
        """Use the job's own logits next, not those of its group."""
        own = job.logits
        for member in self._group:
            self.leave(member)
        job.logits = own
        self._group, self._logits, self._likeliest = [], None, None
