"""Saved states of conversations in memory, with a limit; the least recently used are dropped first.

See `_disk` for files, and `_prefix` for the use of a state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from plugway_local_engine._slots import Checkpoint, Owner, common_prefix

if TYPE_CHECKING:
    from plugway_local_engine._contract import Blob, Tokens


MOST_STATES: Final = 128
"""Maximum number of states, because each request examines all of them."""
SHORT: Final = 512
"""Tokens below which computing a conversation again is fast."""


@dataclass(slots=True, eq=False)
class SavedState:
    """The state of a complete conversation, and earlier points where it can also be continued."""

    tokens: Tokens
    blob: Blob
    checkpoints: tuple[Checkpoint, ...] = ()
    owner: Owner = Owner()
    saved_as: str = ""
    """The file on disk that contains its first `saved_length` tokens."""
    saved_length: int = 0
    used: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.blob.nbytes + sum(c.blob.nbytes for c in self.checkpoints)


class StateStore:
    """States of conversations that lost their slot."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.states: list[SavedState] = []

    def of_caller(self, caller: str) -> list[SavedState]:
        """The states that the caller may use."""
        return [state for state in self.states if state.owner.caller == caller]

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(state.size for state in self.states)

    def add(self, state: SavedState) -> bool:
        """Keep a state; drops those of its caller that it covers, and the oldest until all fit."""
        if state.size > self.limit:
            return False
        self.states = [
            s
            for s in self.states
            if s.owner.caller != state.owner.caller
            or common_prefix(s.tokens, state.tokens) < len(s.tokens)
        ]
        self.states.append(state)
        while self.size > self.limit:
            self.states.remove(min(self.states, key=lambda s: s.used))
        if len(self.states) > MOST_STATES:
            self.states.remove(min(self.states, key=lambda s: (len(s.tokens) >= SHORT, s.used)))
        return True
