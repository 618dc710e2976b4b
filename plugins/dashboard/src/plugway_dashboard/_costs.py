"""What an exchange cost, as far as its tokens and their price are known."""

from __future__ import annotations

import re
from collections.abc import Set
from datetime import UTC, datetime
from typing import Final

from plugway import Exchange, Outcome, Usage
from plugway_prices import DOLLAR, LONG, TellsPrices
from plugway_tools import own_usages

_REFUSED: Final = re.compile(r"(4\d\d|503|529) ")
"""Results of attempts that vendors refuse before any work on them."""
_SOME: Final = Usage(1_000_000, 1_000_000)


def cost_of(
    prices: TellsPrices, exchange: Exchange, outcome: Outcome, choices: Set[str]
) -> float | None:
    """US dollars; None if it is unknown. `choices` are those of the request (`choices_of`)."""
    served = exchange.served_by
    usages = own_usages(exchange, outcome)
    if served is None or not any(map(any, usages)):
        return 0.0 if _costs_nothing(exchange, outcome) else None
    price = prices.price_of(served.backend, served.model, datetime.now(UTC), frozenset(choices))
    if price is None:
        return None
    if exchange.answers > len(usages) and price.cost(_SOME, long=False):
        return None  # of replies that a plugin did not use, such as one with a bad call
    return sum(price.cost(usage, long=LONG in choices) for usage in usages) / DOLLAR


def _costs_nothing(exchange: Exchange, outcome: Outcome) -> bool:
    """Whether no server worked on it: it was answered here, or each attempt was refused."""
    joined = any(outcome.usage) and not own_usages(exchange, outcome)
    if not exchange.attempts:
        return joined or outcome.kind != "disconnected"
    refused = outcome.kind in ("rejected", "failed") and outcome.first_content_seconds is None
    return (joined or refused) and all(_REFUSED.match(one.result) for one in exchange.attempts)
