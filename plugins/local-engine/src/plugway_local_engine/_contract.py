"""What an engine provides so that prompts are prepared, reused and scheduled for it here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Logits = NDArray[np.float32]
Blob = NDArray[np.uint8]

SHARED_POSITION: Final = -(1 << 30)
"""Numbers below this in a prompt stand for parts of an image without a position of their own."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters for choosing the next token."""

    temperature: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    seed: int = 0xFFFFFFFF

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always chosen."""
        return self.temperature <= 0


class Vocabulary(ABC):
    """A model's tokens."""

    vocabulary_size: int

    @cached_property
    @abstractmethod
    def ends(self) -> AbstractSet[int]:
        """Tokens that end a turn."""

    @cached_property
    @abstractmethod
    def controls(self) -> NDArray[np.bool_]:
        """Which tokens are control tokens."""

    @cached_property
    def piece_lengths(self) -> NDArray[np.int64]:
        """Length of each token in bytes."""
        sizes = (len(self.piece(token)) for token in range(self.vocabulary_size))
        return np.fromiter(sizes, np.int64, self.vocabulary_size)

    @property
    @abstractmethod
    def adds_bos(self) -> bool:
        """Whether a prompt starts with the `bos` token."""

    @abstractmethod
    def special(self, name: str) -> int:
        """The id of `bos` or `eos`; -1 if there is none."""

    @abstractmethod
    def tokenize(self, text: str, *, start: bool = False) -> Tokens:
        """Tokens of `text`, control tokens included; `start` adds `bos` if the model needs it."""

    @abstractmethod
    def piece(self, token: int) -> bytes:
        """The bytes of a token, including special ones."""


class Traits(Protocol):
    """How the state of a sequence can be cut."""

    @property
    def trimmable(self) -> bool:
        """Whether the state can be cut at any token."""
        ...

    @property
    def window(self) -> int:
        """Tokens in the window of a sliding layer; 0 if all layers see all tokens."""
        ...

    @property
    def recurrent(self) -> bool:
        """Whether some layers keep a summary instead of tokens."""
        ...


class Sequences(Protocol):
    """The computed states of all sequences, by the index of their slot."""

    @property
    def traits(self) -> Traits:
        """How states can be cut."""
        ...

    @property
    def only_slides(self) -> bool:
        """Whether every layer only sees the window."""
        ...

    @property
    def shared(self) -> bool:
        """Whether all sequences are in one store, so that idle ones slow down the others."""
        ...

    def first_position(self, sequence: int) -> int:
        """The lowest position that the state can be cut after; -1 for an empty sequence."""
        ...

    def last_position(self, sequence: int) -> int:
        """The highest position; -1 for an empty sequence."""
        ...

    def size_of(self, sequence: int) -> int:
        """Size in bytes of the complete state of a sequence."""
        ...

    def remove(self, sequence: int, start: int, end: int = -1) -> bool:
        """Remove positions from `start` up to `end`; False if that is not possible."""
        ...

    def copy(self, source: int, target: int, end: int) -> None:
        """Let `target` have the first `end` positions of `source`."""
        ...

    def save(self, sequence: int, *, partial: bool) -> Blob:
        """The state of a sequence; `partial` leaves out what can be cut at any token."""
        ...

    def load(self, sequence: int, blob: Blob, *, partial: bool) -> bool:
        """Load a saved state into a sequence; False if there is no room."""
        ...
