"""The explanation of one exchange, as a sentence and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from plugway_cache_watch._causes import Cause

QUIET: Final = frozenset(("hit", "first", "several", "recounted", "stored", "long", "unreported"))
"""Codes that are not misses, or about which nothing is known."""


class Explanation(NamedTuple):
    """What one request read from the prompt cache of its target, and why not more."""

    target: str
    read: int
    """Tokens that were read from the cache."""
    written: int
    """Tokens that the server says it added to the cache."""
    total: int
    """Tokens of the prompt."""
    missed: int
    """Tokens that could have been read, and were not."""
    causes: Sequence[Cause]
    """The main one first."""
    dollars: float | None = None
    """What the miss costs; None if the price is unknown."""

    @property
    def code(self) -> str:
        """The main cause, in a word."""
        return self.causes[0].code

    @property
    def miss(self) -> bool:
        """Whether more could have been read."""
        return self.code not in QUIET

    @property
    def line(self) -> str:
        """The explanation as a sentence."""
        text = f"{self.read:,} of {self.total:,} prompt tokens were read from the cache"
        if self.code == "hit":
            return text
        if self.miss:
            text = f"{text}, {self.missed:,} more could have been ({self._price})"
        main, *others = (cause.text for cause in self.causes)
        return f"{text}: {main}{''.join(f'; also, {other}' for other in others)}"

    @property
    def _price(self) -> str:
        if self.dollars is None:
            return "price unknown"
        return f"${self.dollars:.4f}" if 0 < self.dollars < 0.01 else f"${self.dollars:.2f}"

    def as_json(self) -> Mapping[str, Any]:
        """JSON-ready data; `dollars` is None if the price is unknown."""
        return {
            "target": self.target,
            "read": self.read,
            "written": self.written,
            "total": self.total,
            "missed": self.missed if self.miss else 0,
            "miss": self.miss,
            "cause": self.code,
            "why": "" if self.code == "hit" else self.causes[0].text,
            "also": [cause.text for cause in self.causes[1:]],
            "dollars": self.dollars if self.miss else None,
            "line": self.line,
        }
