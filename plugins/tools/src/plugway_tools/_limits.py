"""The limits of a loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one loop."""

    rounds: int = 8
    """Replies with calls that are run."""
    calls: int = 32
    seconds: float = 600.0
    """Time in which calls may begin and run; the model's last reply may take longer."""
    tokens: int = 1_000_000
    """Tokens of all requests and replies, after which no more calls are run; 0 for no limit."""
    result_characters: int = 100_000
    """Longest text of a result for the model."""
    ping_seconds: float = 10.0
