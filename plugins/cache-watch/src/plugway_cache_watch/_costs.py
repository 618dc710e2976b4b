"""What it cost that tokens were computed again instead of being read from the cache."""

from __future__ import annotations

from datetime import UTC, datetime

from plugway import Attempt, Gateway, MessagesRequest, Usage
from plugway_endpoints import TellsCosts
from plugway_prices import DOLLAR, LONG, TellsPrices, choices_of, prices_in


def cost_of_miss(
    gateway: Gateway, served: Attempt, request: MessagesRequest, usage: Usage, missed: int
) -> float | None:
    """US dollars that the prompt cost more than if `missed` tokens had been read; None if a price
    is not known. Reads the vendors' list of prices when it is first needed, which takes a while.
    """
    written = min(missed, usage.cache_creation_tokens)
    computed = missed - written
    ideal = usage._replace(
        input_tokens=max(0, usage.input_tokens - computed),
        cache_creation_tokens=usage.cache_creation_tokens - written,
        cache_read_tokens=usage.cache_read_tokens + missed,
    )
    if not gateway.find(TellsPrices):
        for _, one in gateway.find(TellsCosts):
            paid, possible = one.cost(served.target, usage), one.cost(served.target, ideal)
            if paid is not None and possible is not None:
                return _difference(paid, possible)
    choices = choices_of(request)
    now = datetime.now(UTC)
    price = prices_in(gateway).price_of(served.backend, served.model, now, choices)
    if price is None:
        return None
    long = LONG in choices
    return _difference(price.cost(usage, long=long) / DOLLAR, price.cost(ideal, long=long) / DOLLAR)


def _difference(paid: float, possible: float) -> float | None:
    """None if both are the same although it is not free: no price for cached tokens is known."""
    return None if paid and paid == possible else max(0.0, paid - possible)
