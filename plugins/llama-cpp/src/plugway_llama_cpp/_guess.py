"""Guess the next tokens of a reply from the conversation so far.

Agents repeat themselves: files that were read are written back with small changes, and names and
paths recur. The text that last followed the previous three tokens is computed together with the
next token. Only guesses that equal the model's own choice are kept, so the reply does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Tokens

_MATCH: Final = 3
"""Matching tokens before anything is guessed."""
_NOTHING: Final = np.empty(0, np.int32)
_LONGEST_PAUSE: Final = 64


def guess(tokens: Tokens, most: int) -> Tokens:
    """At most `most` tokens that may follow `tokens`; often none."""
    if most <= 0 or len(tokens) <= _MATCH:
        return _NOTHING
    found = np.flatnonzero(tokens[_MATCH - 1 : -1] == tokens[-1])
    for back in range(1, _MATCH):
        found = found[tokens[found + _MATCH - 1 - back] == tokens[-1 - back]]
    if not len(found):
        return _NOTHING
    start = int(found[-1]) + _MATCH
    ahead = tokens[start : min(start + most, len(tokens))]
    image = np.flatnonzero(ahead < 0)
    return ahead[: image[0]] if len(image) else ahead


@dataclass(slots=True)
class Luck:
    """Whether guessing pays in one reply: after wrong guesses it pauses, each time longer."""

    tried: int = 0
    right: int = 0
    _pause: int = 0
    _next_pause: int = 1

    def ask(self) -> bool:
        """Whether to guess now."""
        if self._pause:
            self._pause -= 1
            return False
        return True

    def notes(self) -> list[str]:
        """Notes for the receipt."""
        return [f"guessed ahead: {self.right} of {self.tried} tokens kept"] if self.tried else []

    def report(self, tried: int, right: int) -> None:
        """Record how many tokens were guessed, and how many were right."""
        self.tried += tried
        self.right += right
        if 2 * right >= tried:
            self._next_pause = 1
        else:
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
