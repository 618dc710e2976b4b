"""The options: which misses are worth a line on the receipt."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class CacheWatchOptions(Options):
    """Options of `cache-watch`."""

    least_dollars: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    """A miss is on the receipt if it costs at least this many US dollars."""
    least_tokens: int = Field(default=5000, ge=1)
    """Where the price is unknown or zero: a miss is on the receipt from this many tokens on."""
    remember: int = Field(default=1000, ge=1, le=10_000)
    """Number of exchanges whose explanation is kept, in memory only, for `plugway logs --cache`
    and the page."""
