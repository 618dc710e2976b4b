"""The options: prices and what counts as too slow."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class Price(Options):
    """Price of a model, in US dollars per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    """Tokens of the prompt."""
    output: float = Field(ge=0, allow_inf_nan=False)
    """Tokens of the reply."""
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Tokens of the prompt that were read from a cache; defaults to `input`."""


class RecommendOptions(Options):
    """Options of `recommend`."""

    prices: dict[str, Price] = Field(default={})
    """Pattern for `instance/model` -> price; the first match counts. Backends on this machine
    cost nothing unless listed here. For others, the plugin `prices` is asked if it is listed."""
    patience_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """A reply that is expected within this time is fast enough: the cheapest of those endpoints is
    recommended, otherwise the fastest."""
    answer_tokens: int = Field(default=500, ge=1)
    """Reply length in tokens that times and costs are computed for, and that must fit next to the
    prompt."""
