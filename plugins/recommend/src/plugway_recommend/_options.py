"""The options: prices and what counts as too slow."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class Price(Options):
    """What a model costs, in US dollars for a million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    """Tokens of the prompt."""
    output: float = Field(ge=0, allow_inf_nan=False)
    """Tokens of the answer."""
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Tokens of the prompt that were read from a cache; without it, as `input`."""


class RecommendOptions(Options):
    """Options of `recommend`."""

    prices: dict[str, Price] = Field(default={})
    """Pattern for `instance/model` -> price; the first that fits counts. Backends on this machine
    cost nothing unless they stand here."""
    patience_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """An answer that is expected within this time is fast enough: among those the cheapest is
    recommended, otherwise the fastest."""
    answer_tokens: int = Field(default=500, ge=1)
    """Length of the answer that times and costs are worked out for, and that must fit beside the
    prompt."""
