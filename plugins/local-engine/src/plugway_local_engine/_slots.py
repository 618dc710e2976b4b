"""Slots: which conversation is in which sequence of the context, and which may replace it.

`_prefix` copies and loads states. A slot belongs to a session and an agent, so that a title request
or a subagent does not evict the main conversation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from plugway_local_engine._contract import SHARED_POSITION

if TYPE_CHECKING:
    from plugway_local_engine._contract import Blob, Tokens
    from plugway_local_engine._job import Job

PROTECTED_SECONDS: Final = 1800.0
_SMALL_LOSS: Final = 256


class Owner(NamedTuple):
    """The owner of a conversation; session and agent are None if the client does not send them."""

    session: str | None = None
    agent: str | None = None
    caller: str = ""
    """A caller with a limited token, who shares nothing that was computed with others; empty for
    all other callers together."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The data that a model whose state cannot be cut needs to continue from `position`."""

    position: int
    blob: Blob


class Slot:
    """One sequence of the context, and its tokens."""

    def __init__(self, index: int, capacity: int) -> None:
        self.index = index
        self.tokens: Tokens = np.zeros(capacity, np.int32)
        self.length = 0
        self._shared = 0
        self.owner = Owner()
        self.used = 0.0
        self.job: Job | None = None
        self.checkpoints: list[Checkpoint] = []
        self.saved_length = 0
        """Number of tokens in this conversation's file on disk."""
        self.saved_as = ""

    @property
    def content(self) -> Tokens:
        """The tokens whose state is in the context."""
        return self.tokens[: self.length]

    @property
    def position(self) -> int:
        """Position of the next token; parts of an image may share a position."""
        return self.length - self._shared

    def position_of(self, length: int) -> int:
        """The position after the first `length` tokens."""
        return position_of(self.tokens, length) if self._shared else length

    def append(self, tokens: Tokens) -> None:
        """Add tokens that were just decoded."""
        end = self.length + len(tokens)
        self.tokens[self.length : end] = tokens
        self.length = end
        if len(tokens) != 1 or tokens[0] < 0:
            self._shared += _count_shared(tokens)

    def cut(self, length: int) -> None:
        """Drop the tokens after `length`."""
        self._shared = length - self.position_of(length)
        self.length = length
        self.checkpoints = [c for c in self.checkpoints if c.position <= length]

    def assign(self, owner: Owner, job: Job) -> None:
        """Start a request in this slot."""
        if owner != self.owner:
            self.saved_as, self.saved_length = "", 0
        self.owner, self.job, self.used = owner, job, time.monotonic()

    def checkpoint_at(self, length: int) -> Checkpoint | None:
        """The last checkpoint at or before `length`."""
        return last_checkpoint(self.checkpoints, length)


def position_of(tokens: Tokens, length: int) -> int:
    """The position after the first `length` tokens."""
    return length - _count_shared(tokens[:length])


def _count_shared(tokens: Tokens) -> int:
    return int(np.count_nonzero(tokens < SHARED_POSITION))


def last_checkpoint(checkpoints: Sequence[Checkpoint], length: int) -> Checkpoint | None:
    """The last of `checkpoints` at or before `length`; they are in order."""
    for checkpoint in reversed(checkpoints):
        if checkpoint.position <= length:
            return checkpoint
    return None


def common_prefix(left: Tokens, right: Tokens) -> int:
    """Length of the common prefix."""
    size = min(len(left), len(right))
    different = left[:size] != right[:size]
    at = int(different.argmax()) if size else 0
    return at if size and different[at] else size


@dataclass(slots=True)
class SlotTable:
    """All slots."""

    slots: list[Slot] = field(default_factory=list["Slot"])

    @classmethod
    def of(cls, count: int, capacity: int) -> SlotTable:
        """Empty slots."""
        return cls([Slot(index, capacity) for index in range(count)])

    def of_caller(self, caller: str) -> list[Slot]:
        """The slots whose content the caller may use."""
        return [slot for slot in self.slots if slot.owner.caller == caller]

    def idle(self) -> list[Slot]:
        """Slots without a request."""
        return [slot for slot in self.slots if slot.job is None]

    def vacancy(self) -> Slot | None:
        """The slot for a new conversation: an empty one, or the best one to evict."""
        idle = self.idle()
        if not idle:
            return None
        return min(idle, key=lambda s: (s.length > 0, self._protected(s), s.used))

    def evictable(self) -> Slot | None:
        """The best idle slot with content to evict."""
        idle = [slot for slot in self.idle() if slot.length]
        return min(idle, key=lambda s: (self._protected(s), s.used), default=None)

    def _protected(self, slot: Slot) -> bool:
        """Whether it is the main conversation of its session."""
        if slot.owner.session is None or slot.owner.agent is not None or not slot.length:
            return False
        if time.monotonic() - slot.used > PROTECTED_SECONDS:
            return False
        same = [s.length for s in self.slots if s.owner == slot.owner]
        return slot.length == max(same)


def may_continue(slot: Slot, owner: Owner, kept: int) -> bool:
    """Whether a request may continue in `slot` after its first `kept` tokens, losing the rest.

    The owner's own request may drop up to half of it (an edited turn, a compaction in place);
    another request of the same owner, such as for a title, uses another slot. A conversation
    without a known owner is continued only if almost nothing is lost.
    """
    if slot.job is not None or slot.owner != owner:
        return False
    loss = slot.length - kept
    return loss <= (_SMALL_LOSS if owner.session is None else max(_SMALL_LOSS, slot.length // 2))
