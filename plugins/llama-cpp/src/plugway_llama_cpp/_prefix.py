"""Reuse of computed prompts: from slots, from states in memory, from files.

Decides where a request continues, and puts the state there. The state of models with sliding
windows or recurrent layers cannot be cut at any token; they continue from checkpoints.

What a caller with a limited token has computed is reused for that caller only, who in turn reuses
nothing else: otherwise the time and token counts of a request would reveal the texts of others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from plugway_llama_cpp._slots import (
    Checkpoint,
    Owner,
    Slot,
    SlotTable,
    common_prefix,
    last_checkpoint,
    may_continue,
)
from plugway_llama_cpp._states import SHORT, SavedState, StateStore

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Context, Tokens
    from plugway_llama_cpp._disk import DiskCache, Stored
    from plugway_llama_cpp._job import Job

_log = logging.getLogger(__name__)

WORTH_WAITING: Final = 256
"""Minimum tokens that a request must save by waiting for another one's prefill."""
MAX_CHECKPOINTS: Final = 8
_FILE_GAIN: Final = 256
_SMALL_STATE: Final = 32 << 20
"""Bytes that are copied to memory and back without a noticeable delay."""

Source = Literal["slot", "copy", "memory", "disk", "none"]


@dataclass(slots=True)
class Found:
    """The best start for a prompt."""

    length: int = 0
    source: Source = "none"
    slot: Slot | None = None
    state: SavedState | None = None
    file: Stored | None = None
    common: int = 0
    """Matching tokens; more than `length` if the state cannot be cut there."""
    near: Tokens | None = field(default=None, repr=False)
    """The tokens that the prompt was compared with, to explain a miss."""


class PrefixCache:
    """Everything that was computed and may be reused."""

    def __init__(
        self, context: Context, slots: SlotTable, memory: StateStore, disk: DiskCache
    ) -> None:
        self._context = context
        self._slots = slots
        self._memory = memory
        self._disk = disk
        self._free = context.model.trimmable
        self._window = context.model.window
        self._recurrent = context.model.recurrent

    @property
    def parked(self) -> Sequence[SavedState]:
        """States of conversations in memory."""
        return self._memory.states

    # Finding

    def find(self, prompt: Tokens, owner: Owner) -> Found:
        """The longest reusable prefix that the owner's caller has computed. At least one token is
        always left to compute."""
        best, caller = Found(), owner.caller
        for slot in self._slots.of_caller(caller):
            common = min(common_prefix(slot.content, prompt), len(prompt) - 1)
            usable = self._usable_in(slot, common)
            own = may_continue(slot, owner, usable)
            if (usable, own) > (best.length, best.source == "slot"):
                best = Found(usable, "slot" if own else "copy", slot, common=common)
        for state in self._memory.of_caller(caller):
            common = min(common_prefix(state.tokens, prompt), len(prompt) - 1)
            positions = [c.position for c in state.checkpoints]
            usable = self._usable(len(state.tokens), positions, common)
            if usable > best.length:
                best = Found(usable, "memory", state=state, common=common)
        for entry in self._disk.of_caller(caller):
            common = min(common_prefix(entry.tokens, prompt), len(prompt) - 1)
            usable = self._usable(len(entry.tokens), entry.positions, common)
            if usable > best.length + _FILE_GAIN:
                best = Found(usable, "disk", file=entry, common=common)
        return best

    def worth_waiting_for(self, prompt: Tokens, owner: Owner, now: int) -> tuple[Slot, int] | None:
        """A request of the same caller that is computing a longer prefix of `prompt` than is
        available."""
        best: tuple[Slot, int] | None = None
        for slot in self._slots.of_caller(owner.caller):
            job = slot.job
            if job is None or job.prefilled:
                continue
            common = min(common_prefix(job.prompt, prompt), len(prompt) - 1, len(job.prompt) - 1)
            useful = common > slot.length and common - now >= WORTH_WAITING
            if useful and (best is None or common > best[1]):
                best = (slot, common)
        return best

    def _usable_in(self, slot: Slot, common: int) -> int:
        if common == 0 or self._free:
            return common
        if common == slot.length and slot.job is None:
            return common
        if self._in_window(slot, common):
            return common
        checkpoint = slot.checkpoint_at(common)
        return checkpoint.position if checkpoint else 0

    def _usable(self, length: int, positions: list[int] | tuple[int, ...], common: int) -> int:
        if self._free or common == length:
            return common
        return max((p for p in positions if p <= common), default=0)

    # Placing

    def place(self, found: Found, owner: Owner, job: Job) -> Slot | None:
        """Put the found state into a slot for `job`; None if no slot is free now."""
        if found.source == "slot" and found.slot is not None:
            slot = found.slot
            self._cut(slot, found.length)
        else:
            vacancy = self._slots.vacancy()
            if vacancy is None:
                return None
            slot = vacancy
            if found.slot is slot:
                # The best slot to evict is also the source: continue in it.
                self._keep(slot)
                self._cut(slot, found.length)
            else:
                self.clear(slot)
                found.length = self._bring(found, slot)
        slot.assign(owner, job)
        self._park_idle()
        return slot

    def _park_idle(self) -> None:
        """Move small states of idle slots to memory: every used cell slows down attention, even for
        requests that do not see it, most of all if short replies are scattered."""
        small = min(_SMALL_STATE, self._memory.limit // 16)
        for slot in self._slots.idle():
            if not self._intact(slot) or self._context.size_of(slot.index) > small:
                continue
            if self.worth_storing(slot):
                self.store(slot)
            self.remember(slot)
            self.drop(slot)

    def _bring(self, found: Found, slot: Slot) -> int:
        match found.source:
            case "copy":
                assert found.slot is not None
                return self._copy(found.slot, slot, found.length)
            case "memory":
                assert found.state is not None
                found.state.used = time.monotonic()
                return self._restore(found.state, slot, found.length)
            case "disk":
                assert found.file is not None
                state = self._disk.load(found.file)
                if state is None:
                    return 0
                return self._restore(state, slot, found.length)
            case _:
                return 0

    def _cut(self, slot: Slot, length: int) -> None:
        """Go back to `length` in the same slot."""
        if length == slot.length:
            return
        if not self._free and not self._in_window(slot, length):
            checkpoint = slot.checkpoint_at(length)
            if checkpoint is None or checkpoint.position != length:
                self.clear(slot)
                return
            self._context.load(slot.index, checkpoint.blob, partial=True)
        self._context.remove(slot.index, slot.position_of(length))
        slot.cut(length)

    def _in_window(self, slot: Slot, length: int) -> bool:
        if self._recurrent or length == 0:
            return False
        least = max(0, slot.position_of(length) - self._window)
        return 0 <= self._context.first_position(slot.index) <= least

    def _copy(self, source: Slot, target: Slot, length: int) -> int:
        context = self._context
        whole = source.length == length
        context.copy(source.index, target.index, source.position_of(length))
        if not self._free:
            if whole or self._in_window(source, length):
                blob = context.save(target.index, partial=True)
            else:
                checkpoint = source.checkpoint_at(length)
                assert checkpoint is not None
                blob = checkpoint.blob
            # A sliding-window cell that two sequences share cannot be reused while both exist
            # (`find_slot` in llama.cpp), so the copy gets separate cells.
            if not context.load(target.index, blob, partial=True):
                self.clear(target)
                return 0
        target.append(source.tokens[:length])
        target.checkpoints = [c for c in source.checkpoints if c.position <= length]
        return length

    def _restore(self, state: SavedState, slot: Slot, length: int) -> int:
        context = self._context
        while not context.load(slot.index, state.blob, partial=False):
            context.remove(slot.index, 0)
            victim = self._slots.evictable()
            if victim is None:
                return 0
            self.drop(victim)
        slot.append(state.tokens)
        slot.checkpoints = list(state.checkpoints)
        slot.owner, slot.saved_as = state.owner, state.saved_as
        slot.saved_length = state.saved_length
        if length < slot.length:
            if not self._free:
                checkpoint = last_checkpoint(slot.checkpoints, length)
                assert checkpoint is not None
                context.load(slot.index, checkpoint.blob, partial=True)
            context.remove(slot.index, slot.position_of(length))
            slot.cut(length)
        return length

    def can_go_back(self, slot: Slot, length: int) -> bool:
        """Whether a running request can return to `length` without computing anything again."""
        return self._free or self._in_window(slot, length)

    def go_back(self, slot: Slot, length: int) -> None:
        """Drop the tokens after `length`."""
        self._context.remove(slot.index, slot.position_of(length))
        slot.cut(length)

    def leave_behind(self, slot: Slot) -> None:
        """Free the cells that no later token of `slot` sees, if every layer slides.

        llama.cpp itself frees them only when it needs them, and until then every token of every
        sequence is compared with them.
        """
        if self._context.only_slides and slot.position > self._window:
            self._context.remove(slot.index, 0, slot.position - self._window)

    # Keeping

    def clear(self, slot: Slot) -> None:
        """Empty a slot; its state is moved to memory if that is worth it."""
        self._keep(slot)
        self.drop(slot)

    def _keep(self, slot: Slot) -> None:
        if slot.length >= SHORT and self._memory.limit > 0 and self._intact(slot):
            self.remember(slot)

    def drop(self, slot: Slot) -> None:
        """Empty a slot and drop its state."""
        self._context.remove(slot.index, 0)
        slot.cut(0)
        slot.owner = Owner()
        slot.saved_as, slot.saved_length = "", 0

    def remember(self, slot: Slot) -> None:
        """Keep a slot's state in memory, unless a state there covers it."""
        content = slot.content
        for state in self._memory.of_caller(slot.owner.caller):
            if common_prefix(state.tokens, content) == slot.length:
                state.used = time.monotonic()
                return
        self._memory.add(self._state(slot))

    def forget(self) -> int:
        """Drop all states in memory; returns their bytes."""
        freed = self._memory.size
        self._memory.states = []
        return freed

    def store(self, slot: Slot) -> None:
        """Start writing a slot's state to disk."""
        slot.saved_as = self._disk.save(self._state(slot), slot.saved_as)
        slot.saved_length = slot.length

    def flush(self) -> None:
        """Wait a short time for pending writes."""
        self._disk.flush(2.5)

    def storable(self, slots: Sequence[Slot]) -> Slot | None:
        """The first of `slots` that is worth writing to disk."""
        return next((slot for slot in slots if self.worth_storing(slot)), None)

    def worth_storing(self, slot: Slot) -> bool:
        """Whether the conversation has grown enough since it was last written."""
        if self._disk.limit <= 0 or slot.job is not None or not self._intact(slot):
            return False
        grown = slot.length - slot.saved_length
        return slot.length >= SHORT and grown >= max(64, slot.length // 50)

    def checkpoint(self, slot: Slot) -> None:
        """Record a checkpoint at a slot's current position."""
        position = slot.length
        if self._free or any(c.position == position for c in slot.checkpoints):
            return
        blob = self._context.save(slot.index, partial=True)
        slot.checkpoints.append(Checkpoint(position, blob))
        while len(slot.checkpoints) > MAX_CHECKPOINTS:
            # The first one is at the end of the system prompt, which other conversations share; the
            # last ones are where the next turn starts.
            del slot.checkpoints[1]

    def _intact(self, slot: Slot) -> bool:
        return slot.length > 0 and self._context.last_position(slot.index) == slot.position - 1

    def _state(self, slot: Slot) -> SavedState:
        blob = self._context.save(slot.index, partial=False)
        return SavedState(
            slot.content.copy(),
            blob,
            tuple(slot.checkpoints),
            slot.owner,
            slot.saved_as,
            slot.saved_length,
        )

    def make_room(self) -> bool:
        """Evict the best idle slot; False if there is none."""
        victim = self._slots.evictable()
        if victim is None:
            return False
        _log.info("slot %d (%d tokens) was evicted", victim.index, victim.length)
        self.clear(victim)
        return True
