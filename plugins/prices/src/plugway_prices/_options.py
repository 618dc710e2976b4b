"""The options: the user's own prices, with the same fields as the data of vendors."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field, model_validator

from plugway import Options

Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class TierOptions(Options):
    """Prices of requests with long prompts, in US dollars per million tokens."""

    above: int = Field(ge=1)
    """Prompts of more tokens than this, cached ones included, cost this price as a whole."""
    input: Dollars
    """Tokens of the prompt."""
    output: Dollars
    """Tokens of the reply."""
    cache_read: Dollars | None = None
    """Tokens of the prompt that were read from the cache; defaults to `input`."""
    cache_write: Dollars | None = None
    """Tokens that were written to the cache; defaults to `input`."""
    cache_write_1h: Dollars | None = None
    """Tokens that were written to the cache for an hour or longer; defaults to `cache_write`."""


class PriceOptions(Options):
    """Price of a model, in US dollars per million tokens."""

    input: Dollars
    """Tokens of the prompt."""
    output: Dollars
    """Tokens of the reply."""
    cache_read: Dollars | None = None
    """Tokens of the prompt that were read from the cache; defaults to `input`."""
    cache_write: Dollars | None = None
    """Tokens that were written to the cache; defaults to `input`."""
    cache_write_1h: Dollars | None = None
    """Tokens that were written to the cache for an hour or longer; defaults to `cache_write`."""
    tiers: tuple[TierOptions, ...] = ()
    """Other prices for long prompts."""
    since: date = date.min
    """First day (UTC) of this price."""
    until: date = date.max
    """Last day (UTC) of this price."""

    @model_validator(mode="after")
    def _days_fit(self) -> PriceOptions:
        if self.until < self.since:
            raise ValueError(f"`until` ({self.until}) is before `since` ({self.since})")
        return self


class PricesOptions(Options):
    """Options of `prices`."""

    models: dict[str, PriceOptions | tuple[PriceOptions, ...]] = Field(default={})
    """Pattern for `instance/model` -> price, or a list of prices with `since`; the first pattern
    that matches counts, before the prices of vendors. Write `{input: 0, output: 0}` for what a
    subscription pays."""
