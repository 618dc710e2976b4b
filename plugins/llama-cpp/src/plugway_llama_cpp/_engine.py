"""The generation loop: one batch after the other, for all requests together.

Each round computes the next token of every running request and fills the rest of the batch with
prompt tokens. `_prefix` decides where a prompt continues; `_prepare` creates the jobs.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from plugway_llama_cpp._batch import Batch, Part
from plugway_llama_cpp._binding import ABORTED, NO_ROOM, Context
from plugway_llama_cpp._guess import guess
from plugway_llama_cpp._job import Job, checkpoints_due
from plugway_llama_cpp._report import explain_reuse
from plugway_llama_cpp._sender import Sender
from plugway_local_engine import EngineFailed

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Logits, Tokens
    from plugway_llama_cpp._images import Images
    from plugway_llama_cpp._mtmd import Media
    from plugway_llama_cpp._prefix import PrefixCache
    from plugway_llama_cpp._slots import Slot, SlotTable
    from plugway_llama_cpp._threads import Threads
    from plugway_local_engine import Channel, Frame

_log = logging.getLogger(__name__)

_IDLE_BEFORE_STORING: Final = 0.3
_LONG: Final = 64
"""Prompt tokens in a batch above which it pays to park idle states first."""


class Engine:
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
        self._channel = channel
        self._sender = Sender(channel)
        self._context = context
        self._slots = slots
        self._prefix = prefix
        self._threads = threads
        self._images = images
        self._guesses = guesses
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._arrived: deque[Job] = deque()
        self._cancels: deque[int] = deque()
        self._in_batch: frozenset[int] = frozenset()
        self._gone: set[int] = set()
        self._paused: set[int] = set()
        self._batch = Batch(context)
        self._idle_since = time.monotonic()
        self._stopping = False
        self.tokens_computed = 0
        channel.on_cancel = self._cancel_now

    # Called from other threads

    def submit(self, job: Job) -> None:
        """Queue a job that is ready to be computed."""
        self._arrived.append(job)
        self._channel.wake()

    def _cancel_now(self, number: int) -> None:
        self._cancels.append(number)
        if number in self._in_batch:
            self._context.abort(True)

    # The loop

    def run(self, other: Callable[[Frame], None]) -> None:
        """Run until told to stop; frames that are not for the loop are passed to `other`."""
        busy = False
        while not self._stopping:
            for frame in self._channel.receive(0 if busy else self._patience()):
                self._take(frame, other)
            self._arrivals()
            self._admit()
            count = self._fill()
            if count:
                self._step(count)
                self._sender.flush(self._running)
            busy = self._look() or count > 0
            if not busy and not self._running and not self._waiting:
                self._store_when_idle()
            self._channel.beat(
                running=len(self._running), waiting=len(self._waiting), **self._progress()
            )
        self._store_all()

    def _take(self, frame: Frame, other: Callable[[Frame], None]) -> None:
        match frame.header.get("op"):
            case "pause":
                self._paused.add(frame.header["id"])
            case "resume":
                self._paused.discard(frame.header["id"])
            case "stop":
                self._stopping = True
            case "wake" | "cancel":
                pass
            case _:
                other(frame)

    def _arrivals(self) -> None:
        self._context.abort(False)
        while self._arrived:
            self._waiting.append(self._arrived.popleft())
        while self._cancels:
            self._cancel(self._cancels.popleft())
        for job in [job for job in self._waiting if job.number in self._gone]:
            self._gone.discard(job.number)
            self._release(job)

    def _cancel(self, number: int) -> None:
        self._paused.discard(number)
        found = [j for j in (*self._running, *self._waiting) if j.number == number]
        for job in found:
            _log.info("request %d cancelled after %d tokens", number, len(job.generated))
            self._release(job)
        if not found:
            # It is still being prepared.
            self._gone.add(number)
        self._channel.send({"id": number, "end": True, "cancelled": True})

    def _release(self, job: Job) -> None:
        if job in self._running:
            self._running.remove(job)
        if job in self._waiting:
            self._waiting.remove(job)
        if job.slot is not None:
            job.slot.job, job.slot.used = None, time.monotonic()
            job.slot = None
        job.close()
        self._idle_since = time.monotonic()

    def _progress(self) -> dict[str, Any]:
        reading = [j for j in self._running if not j.prefilled and j.slot is not None]
        if not reading:
            return {}
        done = sum(job.slot.length for job in reading if job.slot is not None)
        return {"prefilled": done, "of": sum(len(job.prompt) for job in reading)}

    # Beginning

    def _admit(self) -> None:
        """Assign slots to waiting jobs, first come first served. A job that waits for another one's
        prefix does not block those behind it."""
        for job in list(self._waiting):
            found = self._prefix.find(job.prompt, job.owner)
            donor = self._prefix.worth_waiting_for(job.prompt, job.owner, found.length)
            if donor is not None:
                self._wait_for(*donor)
                continue
            notes = explain_reuse(self._slots, self._prefix.parked, job, found)
            slot = self._prefix.place(found, job.owner, job)
            if slot is None:
                return
            self._waiting.remove(job)
            self._begin(job, slot)
            if not job.counted:
                job.notes += notes

    def _wait_for(self, slot: Slot, length: int) -> None:
        """Make the donor stop there for a checkpoint, if its model needs one."""
        if slot.job is not None and not self._context.model.trimmable:
            slot.job.stops_at.add(length)

    def _begin(self, job: Job, slot: Slot) -> None:
        job.slot = slot
        self._running.append(job)
        if not self._context.model.trimmable:
            job.stops_at |= {
                p for p in checkpoints_due(job.boundaries, len(job.prompt)) if p > slot.length
            }
        if not job.counted:
            job.reused = slot.length
            job.ops.append(["start", job.usage()])

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
        room = batch.chunk()
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

    def _guess(self, job: Job, slot: Slot, most: int) -> Tokens:
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
            if count > 32:
                self._batch.seconds_per_token = seconds / count
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

    def _put_image(self, job: Job, slot: Slot, start: int, media: Media, rows: Logits) -> None:
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

    def _fail(self, job: Job, message: str) -> None:
        self._sender.fail(job, message)
        self._release(job)

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

    def _rewind(self, job: Job) -> None:
        """Go back to the start of a faulty call, and let the job generate it again."""
        keep = job.output.rewind
        assert job.slot is not None
        assert keep is not None
        position = job.counted_prompt + keep
        if not self._prefix.can_go_back(job.slot, position - 1):
            job.ops += job.output.give_up()
            return
        self._prefix.go_back(job.slot, position - 1)
        job.rewind(keep, self._context.model.piece)
        job.ops.append(["note", "a tool call did not match its schema and was decoded again"])

    def _finish(self, job: Job) -> None:
        job.notes += job.luck.notes()
        job.ops.append(["end", job.finished, job.stream.stopped, job.usage()])
        self._sender.send([job])
        self._release(job)

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

    def _make_room(self) -> None:
        if self._prefix.make_room():
            return
        youngest = max(self._running, key=lambda j: j.arrived)
        if len(self._running) == 1:
            _log.error("request %d does not fit into the context", youngest.number)
            youngest.end("model_context_window_exceeded")
            self._finish(youngest)
            return
        slot = youngest.slot
        self._requeue(youngest)
        if slot is not None:
            self._prefix.clear(slot)

    def _requeue(self, job: Job) -> None:
        if job.slot is not None:
            job.slot.job = None
        self._running.remove(job)
        job.again()
        self._waiting.appendleft(job)

    # Between requests

    def _patience(self) -> float:
        if self._running or self._waiting:
            # Slow readers slow down all requests.
            return 0.01
        due = self._prefix.storable(self._slots.slots)
        return _IDLE_BEFORE_STORING / 2 if due is not None else 1.0

    def _store_when_idle(self) -> None:
        if time.monotonic() - self._idle_since < _IDLE_BEFORE_STORING:
            return
        slot = self._prefix.storable(self._slots.idle())
        if slot is not None:
            self._prefix.store(slot)

    def _store_all(self) -> None:
        while (slot := self._prefix.storable(self._slots.idle())) is not None:
            self._prefix.store(slot)
        self._prefix.flush()
