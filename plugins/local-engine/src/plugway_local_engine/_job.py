"""One request in an engine: its prompt, its sampling, and its output so far.

`_loop` schedules it; `_dialogue` parses its output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from plugway_local_engine._contract import Sampling
from plugway_local_engine._slots import Owner
from plugway_local_engine._text import TextStream

if TYPE_CHECKING:
    from plugway_local_engine._contract import Tokens
    from plugway_local_engine._dialogue import Output
    from plugway_local_engine._slots import Slot

Op = list[Any]
"""An operation for the gateway: `["text", …]`, `["thinking", …]`, `["tool", name, json]`."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The client's parameters of the generation."""

    max_tokens: int
    stops: tuple[str, ...] = ()
    sampling: Sampling = Sampling()


@dataclass(slots=True, eq=False)
class Job:
    """A request in the engine."""

    number: int
    owner: Owner
    prompt: Tokens
    output: Output
    wishes: Wishes
    boundaries: tuple[int, ...] = ()
    """Positions in the prompt where messages start."""
    ends: frozenset[int] = frozenset()
    limit: int = 0
    """Maximum tokens to generate, within the window."""
    clamped: bool = False
    """Whether the window ends before `max_tokens`."""
    notes: list[str] = field(default_factory=list[str])
    media: tuple[tuple[int, Any], ...] = ()
    """Parts of images in the prompt, with the index of their first token."""
    messages: tuple[int, ...] = ()
    """Positions in the prompt where texts of messages end, in order."""
    arrived: float = field(default_factory=time.monotonic)
    slot: Slot | None = None
    reused: int = 0
    stops_at: set[int] = field(default_factory=set[int])
    """Prompt positions that need a checkpoint."""
    generated: list[int] = field(default_factory=list[int])
    next_token: int = -1
    begun: bool = False
    """Whether it had a slot before, so that the client has got the counts of its prompt."""
    prefilled: bool = False
    paused: bool = False
    cancelled: bool = False
    counted: int = 0
    """Tokens of the client's prompt, if `prompt` also contains what was generated before the job
    lost its slot."""
    rewinds: int = 0
    finished: str = ""
    ops: list[Op] = field(default_factory=list[Op])
    stream: TextStream = field(init=False)

    def __post_init__(self) -> None:
        self.stream = TextStream(self.wishes.stops)

    @property
    def counted_prompt(self) -> int:
        """Number of prompt tokens to report to the client."""
        return self.counted or len(self.prompt)

    def next_image(self) -> tuple[int, Any] | None:
        """The index and part of the next image in the prompt."""
        done = self.slot.length if self.slot is not None else 0
        return next((part for part in self.media if part[0] >= done), None)

    def usage(self) -> Mapping[str, int]:
        """Token counts for the client: computed and reused."""
        return {
            "input_tokens": self.counted_prompt - self.reused,
            "cache_read_input_tokens": self.reused,
            "cache_creation_input_tokens": 0,
            "output_tokens": len(self.generated),
        }

    def accept(self, token: int, piece: bytes) -> None:
        """Add the token to the reply; sets `finished` if it ends there."""
        self.generated.append(token)
        if token in self.ends:
            self.end("end_turn")
            return
        self.ops += self.output.feed(self.stream.feed(piece), token)
        if self.stream.stopped is not None:
            self.end("stop_sequence")
        elif self.output.done:
            self.end("end_turn")
        elif len(self.generated) >= self.limit:
            self.end("model_context_window_exceeded" if self.clamped else "max_tokens")
        else:
            self.next_token = token

    def end(self, reason: str) -> None:
        """Produce the rest of the output, and set `finished`."""
        self.ops += self.output.finish(self.stream.flush(), cut=reason != "end_turn")
        self.finished = "tool_use" if reason == "end_turn" and self.output.calls else reason

    def rewind(self, keep: int, piece: Callable[[int], bytes]) -> None:
        """Drop all but the first `keep` generated tokens, and choose differently from there."""
        self.rewinds += 1
        del self.generated[keep:]
        self.next_token = self.generated[-1] if keep else int(self.prompt[-1])
        self.stream = TextStream(self.wishes.stops)
        self.choose_differently()
        text = "".join(self.stream.feed(piece(token)) for token in self.generated)
        self.output.rewound(text, keep)

    def again(self) -> None:
        """Return to the queue, because the slot is needed elsewhere."""
        if self.generated:
            tail = np.array(self.generated, np.int32)
            self.counted = self.counted_prompt
            self.prompt = np.concatenate([self.prompt[: self.counted], tail])
        self.slot, self.prefilled = None, False

    def choose_differently(self) -> None:
        """Called after a rewind: the same choice would repeat the mistake."""

    def final_notes(self) -> list[str]:
        """Notes for the receipt at the end of the reply."""
        return []

    def close(self) -> None:
        """Free what the engine holds for this request."""


def checkpoints_due(boundaries: Sequence[int], length: int) -> set[int]:
    """Positions of a prompt that need a checkpoint."""
    due = {position for position in boundaries if 0 < position < length}
    return due or ({length - 4} if length > 64 else set())
