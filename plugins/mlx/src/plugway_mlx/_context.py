"""The states of all sequences: mlx-lm's caches, one list per slot, or one list for a group.

Sequences that generate together are merged into one batch of mlx-lm's batch caches, and are taken
out of it when they are needed on their own. One sequence alone is never merged, because a batch of
one costs a mask for each layer.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from plugway_mlx import _mlx
from plugway_mlx._mlx import Array
from plugway_mlx._model import CUT_ANYWHERE, Model

if TYPE_CHECKING:
    from plugway_local_engine.engine import Blob, Tokens

Row = list[Any]
"""The caches of the layers, for one sequence or for a group."""
_LENGTH: Final = "length"


class Context:
    """Computes tokens, and keeps what was computed (`plugway_local_engine.engine.Sequences`)."""

    shared = False
    only_slides = False

    def __init__(self, model: Model, slots: int) -> None:
        self.traits = self.model = model
        self._rows: list[Row | None] = [None] * slots
        self._lengths = [0] * slots
        self._cut_at = [0] * slots
        """Positions of the layers that cannot be cut anywhere, which can be behind the others."""
        self._group: tuple[int, ...] = ()
        self._merged: Row = []
        self._free = [kind in CUT_ANYWHERE for kind in model.kinds]
        self._mergeable = all(
            hasattr(c, "merge") for c in _mlx.caches.make_prompt_cache(model.network)
        )

    # Computing

    def read(self, sequence: int, tokens: Tokens) -> None:
        """Compute a piece of a prompt."""
        row = self._own(sequence)
        self.model.network(_mlx.mx.array(tokens)[None], cache=row)
        # The logits are not part of what is evaluated, so they are never computed.
        _mlx.mx.eval([c.state for c in row])
        _mlx.mx.clear_cache()
        self._grow(sequence, len(tokens))

    def start(self, sequence: int, token: int) -> Array:
        """Compute the last token of a prompt; returns its logits, 1 by vocabulary."""
        logits = self.model.network(_mlx.mx.array([[token]]), cache=self._own(sequence))
        self._grow(sequence, 1)
        return logits[:, -1, :]

    def step(self, sequences: tuple[int, ...], tokens: Array) -> Array:
        """Compute one token of each sequence; returns the logits, one row for each.

        Nothing is evaluated here: `tokens` may be the result of a computation that runs.
        """
        network = self.model.network
        if len(sequences) > 1 and not self._mergeable:
            rows = [
                network(tokens[i : i + 1, None], cache=self._own(s))
                for i, s in enumerate(sequences)
            ]
            logits = _mlx.mx.concatenate(rows)
        else:
            logits = network(tokens[:, None], cache=self._together(sequences))
        for sequence in sequences:
            self._grow(sequence, 1)
        return logits[:, -1, :]

    def _grow(self, sequence: int, count: int) -> None:
        self._lengths[sequence] += count
        self._cut_at[sequence] += count

    # Groups

    def separate(self, sequence: int) -> None:
        """Take a sequence out of its group."""
        if sequence in self._group:
            self._dissolve()

    def _together(self, sequences: tuple[int, ...]) -> Row:
        if len(sequences) == 1:
            return self._own(sequences[0])
        if self._group != sequences:
            self._dissolve()
            rows = [self._own(sequence) for sequence in sequences]
            self._merged = [layer[0].merge(layer) for layer in zip(*rows, strict=True)]
            self._group = sequences
            for sequence in sequences:
                self._rows[sequence] = None
        return self._merged

    def _dissolve(self) -> None:
        group, merged = self._group, self._merged
        self._group, self._merged = (), []
        for place, sequence in enumerate(group):
            self._rows[sequence] = [layer.extract(place) for layer in merged]

    def _own(self, sequence: int) -> Row:
        """The caches of a sequence on its own."""
        self.separate(sequence)
        row = self._rows[sequence]
        if row is None:
            row = self._rows[sequence] = _mlx.caches.make_prompt_cache(self.model.network)
        return row

    # Sequences

    @property
    def tokens(self) -> int:
        """Number of tokens of all sequences."""
        return sum(self._lengths)

    def first_position(self, sequence: int) -> int:
        """The lowest position that the state can be cut after; -1 for an empty sequence."""
        if not self._lengths[sequence]:
            return -1
        if sequence in self._group:
            # It is being computed: taking it out of its group only to ask would cost too much.
            return self._lengths[sequence]
        bound = self._bound(self._own(sequence))
        return 0 if all(c.is_trimmable() for c in bound) else self._lengths[sequence]

    def last_position(self, sequence: int) -> int:
        """The highest position; -1 for an empty sequence."""
        return self._lengths[sequence] - 1

    def size_of(self, sequence: int) -> int:
        """Size in bytes of the complete state of a sequence."""
        return sum(int(c.nbytes) for c in self._own(sequence))

    def remove(self, sequence: int, start: int, end: int = -1) -> bool:
        """Remove positions from `start` on; False if a layer cannot be cut there. `end` has no
        meaning here: only stores that all sequences share are cleared at their beginning."""
        if start == 0:
            self.separate(sequence)
            self._rows[sequence] = None
            self._lengths[sequence] = self._cut_at[sequence] = 0
            return True
        row = self._own(sequence)
        behind = self._cut_at[sequence] - start
        if behind > 0 and not all(c.is_trimmable() for c in self._bound(row)):
            return False
        for cache, free in zip(row, self._free, strict=True):
            cut = self._lengths[sequence] - start if free else behind
            if cut > 0:
                cache.trim(cut)
        self._lengths[sequence] = self._cut_at[sequence] = start
        return True

    def copy(self, source: int, target: int, end: int) -> None:
        """Let `target` have the first `end` positions of `source`; layers that cannot be cut there
        stay ahead until a state is loaded for them."""
        self.separate(target)
        row = self._own(source)
        self._rows[target] = [c.from_state(_shared(c.state)) for c in row]
        self._lengths[target] = self._lengths[source]
        self._cut_at[target] = self._cut_at[source]
        if self.remove(target, end):
            return
        for cache, free in zip(self._own(target), self._free, strict=True):
            if free:
                cache.trim(self._lengths[target] - end)
        self._lengths[target] = end

    def save(self, sequence: int, *, partial: bool) -> Blob:
        """The state of a sequence as a prompt cache file of mlx-lm; `partial` leaves out what can
        be cut at any token."""
        row = self._own(sequence)
        kept = self._bound(row) if partial else row
        file = io.BytesIO()
        metadata = {_LENGTH: str(self._lengths[sequence])}
        _mlx.caches.save_prompt_cache(file, kept, metadata)
        return np.frombuffer(file.getbuffer(), np.uint8)

    def load(self, sequence: int, blob: Blob, *, partial: bool) -> bool:
        """Load a saved state into a sequence."""
        loaded, metadata = _read(blob)
        length = int(metadata[_LENGTH])
        if partial:
            row, rest = self._own(sequence), iter(loaded)
            pairs = zip(row, self._free, strict=True)
            self._rows[sequence] = [c if free else next(rest) for c, free in pairs]
        else:
            self.separate(sequence)
            self._rows[sequence] = loaded
            self._lengths[sequence] = length
        self._cut_at[sequence] = length
        return True

    def _bound(self, row: Row) -> Row:
        """The caches that cannot be cut anywhere."""
        return [c for c, free in zip(row, self._free, strict=True) if not free]


def _shared(state: Any) -> Any:
    """The same state for a second cache: arrays are copied when one of the two is changed."""
    if isinstance(state, _mlx.mx.array):
        return _mlx.mx.array(state)
    if isinstance(state, list):
        return [_shared(item) for item in cast("list[Any]", state)]
    if isinstance(state, tuple):
        return tuple(_shared(item) for item in cast("tuple[Any, ...]", state))
    return state


class _File(io.BytesIO):
    """A file in memory; MLX finds the format by its name."""

    name = "state.safetensors"


def _read(blob: Blob) -> tuple[Row, dict[str, str]]:
    return _mlx.caches.load_prompt_cache(_File(blob.tobytes()), return_metadata=True)
