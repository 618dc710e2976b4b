"""The rounds of llama.cpp: one batch after the other, for all requests together.

Each round computes the next token of every running request and fills the rest of the batch with
prompt tokens.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from plugway_llama_cpp._batch import Batch, Part
from plugway_llama_cpp._binding import ABORTED, NO_ROOM, Context
from plugway_llama_cpp._guess import guess
from plugway_llama_cpp._job import LlamaJob
from plugway_local_engine import EngineFailed
from plugway_local_engine.engine import EngineLoop, Pace, PrefixCache, Slot, SlotTable

if TYPE_CHECKING:
    from plugway_llama_cpp._images import Images
    from plugway_llama_cpp._mtmd import Media
    from plugway_llama_cpp._threads import Threads
    from plugway_local_engine import Channel
    from plugway_local_engine.engine import Logits, Tokens

_log = logging.getLogger(__name__)

_LONG: Final = 64
"""Prompt tokens in a batch above which it pays to park idle states first."""


class Engine(EngineLoop[LlamaJob]):
    """Runs all jobs of one model in one thread."""

    def __init__(
        self,
        channel: Channel,
        context: Context,
        slots: SlotTable,
        prefix: PrefixCache,
        threads: Threads,
        images: Images | None = None,
        guesses: int = 0,
    ) -> None:
        """`guesses`: maximum tokens of a reply that are guessed ahead."""
        super().__init__(channel, context, slots, prefix)
        self._context = context
        self._threads = threads
        self._images = images
        self._guesses = guesses
        self._in_batch: frozenset[int] = frozenset()
        self._batch = Batch(context)
        self._pace = Pace()
        self.tokens_computed = 0

    def abort(self, number: int) -> None:
        """Abort the running batch if the request is in it."""
        if number in self._in_batch:
            self._context.abort(True)

    def resume(self) -> None:
        """Allow batches again."""
        self._context.abort(False)

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        return self._context.model.piece(token)

    def compute(self) -> bool:
        """Decode one batch, and add one image if one is ready."""
        count = self._fill()
        if count:
            self._step(count)
            self._sender.flush(self._running)
        return self._look() or count > 0

    # One round

    def _fill(self) -> int:
        """Fill the batch: replies first, then prompts, the oldest first."""
        batch = self._batch
        batch.clear()
        speaking = [j for j in self._running if j.prefilled and j.number not in self._paused]
        most = min(self._guesses, batch.room // max(1, len(speaking)) - 1)
        for job in speaking:
            assert job.slot is not None
            batch.put_reply(job, job.slot, self._guess(job, job.slot, most))
        room = self._pace.size(batch.room)
        for job in self._running:
            if room <= 0:
                break
            if not job.prefilled and job.slot is not None:
                size = batch.put_prompt(job, job.slot, room)
                room -= size
                if size >= _LONG:
                    self._prefix.leave_behind(job.slot)
        self._in_batch = frozenset(part.job.number for part in batch.parts)
        return batch.count

    def _guess(self, job: LlamaJob, slot: Slot, most: int) -> Tokens:
        """Guesses of the next tokens, if the state can be cut behind them."""
        if most <= 0 or not job.luck.ask() or not self._prefix.can_go_back(slot, slot.length):
            return np.empty(0, np.int32)
        slot.tokens[slot.length] = job.next_token
        left = job.limit - len(job.generated) - 1
        return guess(slot.tokens[: slot.length + 1], min(most, left))

    def _step(self, count: int) -> None:
        self._context.set_threads(self._threads.choose(count))
        began = time.perf_counter()
        status = self._context.decode(count)
        seconds = time.perf_counter() - began
        self._threads.report(count, seconds)
        if status == 0:
            rows = self._commit()
            if rows:
                self._speak(rows)
            self._pace.report(count, seconds)
        elif status == ABORTED:
            self._resynchronise()
        elif status == NO_ROOM:
            self._make_room()
        else:
            raise EngineFailed(f"llama_decode failed with {status}")

    # Images

    def _look(self) -> bool:
        """Add one image that a prompt has reached to the context; False if none is ready."""
        for job in self._running:
            image = job.next_image()
            slot = job.slot
            if image is None or slot is None or image[0] != slot.length or self._images is None:
                continue
            try:
                rows = self._images.embeddings(image[1])
            except RuntimeError as error:
                self._fail(job, str(error))
                return True
            if rows is not None:
                self._put_image(job, slot, *image, rows)
                return True
        return False

    def _put_image(self, job: LlamaJob, slot: Slot, start: int, media: Media, rows: Logits) -> None:
        assert self._images is not None
        self._in_batch = frozenset([job.number])
        self._context.set_threads(self._threads.all)
        place = slot.index, slot.position
        status = self._images.decode(self._context, media, rows, place)
        if status == 0:
            slot.append(job.prompt[start : start + media.tokens])
            self.tokens_computed += media.tokens
            return
        self._batch.parts = [Part(job, slot, 0, 0, 0)]
        self._resynchronise()
        if status == NO_ROOM:
            self._make_room()
        elif status != ABORTED:
            raise EngineFailed(f"an image cannot be decoded: {status}")

    def _commit(self) -> int:
        tokens, rows = self._context.tokens, 0
        for job, slot, start, size, outputs, _ in self._batch.parts:
            slot.append(tokens[start : start + size])
            rows += outputs
            if not job.prefilled:
                job.prefilled = outputs > 0
                if slot.length in job.stops_at:
                    self._prefix.checkpoint(slot)
        self.tokens_computed += self._batch.count
        return rows

    def _speak(self, rows: int) -> None:
        logits, row = self._context.logits(rows), 0
        for part in self._batch.parts:
            if part.outputs:
                self._say(part, logits[row : row + part.outputs])
                row += part.outputs

    def _say(self, part: Part, logits: Logits) -> None:
        """Accept the model's choice after each token, as long as the guesses match it."""
        job, guesses = part.job, part.guesses
        first, right = part.start + part.size - part.outputs, 0
        if job.limit <= 0:
            job.finished = "max_tokens"
        while not job.finished:
            token = job.choose(self._context, logits[right], first + right)
            job.accept(token, self._context.model.piece(token))
            if right == len(guesses) or token != guesses[right] or job.output.rewind is not None:
                break
            if not job.finished:
                right += 1
        if right < len(guesses):
            self._prefix.go_back(part.slot, part.slot.length - len(guesses) + right)
        if guesses:
            job.luck.report(len(guesses), right)
        if job.output.rewind is not None and not job.finished:
            self._rewind(job)
        if job.finished:
            self._finish(job)

    # When a round fails

    def _resynchronise(self) -> None:
        """After an abort, nothing of the batch counts: remove what llama.cpp kept of it."""
        for job, slot, *_ in self._batch.parts:
            if self._context.last_position(slot.index) == slot.position - 1:
                continue
            removed = self._context.remove(slot.index, slot.position)
            if not removed or self._context.last_position(slot.index) != slot.position - 1:
                self._prefix.drop(slot)
                self._requeue(job)
