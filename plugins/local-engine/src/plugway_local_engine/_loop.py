"""The loop of an engine: takes frames, admits waiting requests, computes round after round.

An engine's own class computes a round; `_prefix` decides where a prompt continues, and `_prepare`
creates the jobs.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from plugway_local_engine._job import Job, checkpoints_due
from plugway_local_engine._report import explain_reuse
from plugway_local_engine._seen import reported
from plugway_local_engine._sender import Sender

if TYPE_CHECKING:
    from plugway_local_engine._contract import Sequences
    from plugway_local_engine._frames import Frame
    from plugway_local_engine._prefix import PrefixCache
    from plugway_local_engine._slots import Slot, SlotTable
    from plugway_local_engine._worker import Channel

_log = logging.getLogger(__name__)

_IDLE_BEFORE_STORING: Final = 0.3
J = TypeVar("J", bound=Job)


class EngineLoop(ABC, Generic[J]):
    """Runs all jobs of one model in one thread."""

    def __init__(
        self, channel: Channel, sequences: Sequences, slots: SlotTable, prefix: PrefixCache
    ) -> None:
        self._channel = channel
        self._sender = Sender(channel)
        self._slots = slots
        self._prefix = prefix
        self._trimmable = sequences.traits.trimmable
        self._waiting: deque[J] = deque()
        self._full = False
        """Whether a request had to give up its slot, and none has ended since."""
        self._running: list[J] = []
        self._arrived: deque[J] = deque()
        self._cancels: deque[int] = deque()
        self._gone: set[int] = set()
        self._paused: set[int] = set()
        self._idle_since = time.monotonic()
        self._stopping = False
        channel.on_cancel = self._cancel_now

    @abstractmethod
    def compute(self) -> bool:
        """One round for the running requests; False if there was nothing to compute."""

    def abort(self, number: int) -> None:
        """Make a computation for that request end soon; called from another thread. An engine whose
        rounds are short need not do anything."""

    def resume(self) -> None:
        """Allow computations again after `abort`."""

    @abstractmethod
    def piece(self, token: int) -> bytes:
        """The bytes of a token."""

    def leave(self, job: J) -> None:
        """Called before a job gives up its slot."""

    # Called from other threads

    def submit(self, job: J) -> None:
        """Queue a job that is ready to be computed."""
        self._arrived.append(job)
        self._channel.wake()

    def _cancel_now(self, number: int) -> None:
        self._cancels.append(number)
        self.abort(number)

    # The loop

    def run(self, other: Callable[[Frame], None]) -> None:
        """Run until asked to stop; frames that are not for the loop are passed to `other`."""
        busy = False
        while not self._stopping:
            for frame in self._channel.receive(0 if busy else self._patience()):
                self._take(frame, other)
            self._arrivals()
            self._admit()
            busy = self.compute()
            if not busy and not self._running and not self._waiting:
                self._store_when_idle()
            self._channel.beat(self._progress)
        self._store_all()

    def _progress(self) -> Mapping[str, Any]:
        counts = {"running": len(self._running), "waiting": len(self._waiting)}
        return {**counts, **reported(self._running, self._waiting)}

    def _take(self, frame: Frame, other: Callable[[Frame], None]) -> None:
        match frame.header.get("op"):
            case "pause":
                self._paused.add(frame.header["id"])
            case "resume":
                self._paused.discard(frame.header["id"])
            case "stop":
                self._stopping = True
            case "free":
                freed = self._prefix.forget()
                self._channel.send({"id": frame.header["id"], "end": True, "freed": freed})
            case "wake" | "cancel":
                pass
            case _:
                other(frame)

    def _arrivals(self) -> None:
        self.resume()
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

    def _release(self, job: J) -> None:
        if job.slot is not None:
            self.leave(job)
        if job in self._running:
            self._running.remove(job)
            self._full = False
        if job in self._waiting:
            self._waiting.remove(job)
        if job.slot is not None:
            job.slot.job, job.slot.used = None, time.monotonic()
            job.slot = None
        job.close()
        self._idle_since = time.monotonic()

    # Beginning

    def _admit(self) -> None:
        """Assign slots to waiting jobs, first come first served. A job that waits for another one's
        prefix does not block those behind it. While the context is full, nothing begins until a
        request ends: it would take the room from which another has just been sent away."""
        if self._full and self._running:
            return
        self._full = False
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
            first = not job.begun
            self._begin(job, slot)
            if first:
                job.notes += notes

    def _wait_for(self, slot: Slot, length: int) -> None:
        """Make the donor stop there for a checkpoint, if its model needs one."""
        if slot.job is not None and not self._trimmable:
            slot.job.stops_at.add(length)

    def _begin(self, job: J, slot: Slot) -> None:
        job.slot = slot
        self._running.append(job)
        if not self._trimmable:
            job.stops_at |= {
                p for p in checkpoints_due(job.boundaries, len(job.prompt)) if p > slot.length
            }
        if not job.begun:
            job.begun = True
            job.reused = slot.length
            job.ops.append(["start", job.usage()])

    # Ending

    def _rewind(self, job: J) -> bool:
        """Go back to the start of a faulty call, and let the job generate it again; False if the
        state cannot be cut there."""
        keep = job.output.rewind
        assert job.slot is not None
        assert keep is not None
        position = job.counted_prompt + keep
        if not self._prefix.can_go_back(job.slot, position - 1):
            job.ops += job.output.give_up()
            return False
        self._prefix.go_back(job.slot, position - 1)
        job.rewind(keep, self.piece)
        job.ops.append(["note", "a tool call did not match its schema and was decoded again"])
        return True

    def _finish(self, job: J) -> None:
        job.notes += job.final_notes()
        job.ops.append(["end", job.finished, job.stream.stopped, job.usage()])
        self._sender.send([job])
        self._release(job)

    def _fail(self, job: J, message: str) -> None:
        self._sender.fail(job, message)
        self._release(job)

    def _make_room(self) -> None:
        """Give up an idle conversation, or else the youngest request, which waits again."""
        if self._prefix.make_room():
            return
        youngest = max(self._running, key=lambda j: j.arrived)
        if len(self._running) == 1:
            _log.error("request %d does not fit into the context", youngest.number)
            youngest.end("model_context_window_exceeded")
            self._finish(youngest)
            return
        slot = youngest.slot
        self._full = True
        self._requeue(youngest)
        if slot is not None:
            self._prefix.clear(slot)

    def _requeue(self, job: J) -> None:
        if job.slot is not None:
            self.leave(job)
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
