"""What an exchange cost, as far as its tokens and their price are known."""

from __future__ import annotations

from collections.abc import Set
from datetime import UTC, datetime
from typing import Final

from plugway import Exchange, Outcome
from plugway_prices import DOLLAR, TellsPrices
from plugway_tools import loop_usages

_UNBILLED: Final = (503, 529)
"""Besides 4xx: statuses with which vendors refuse a request before any work on it."""
_LONG: Final = "cache: long"


def cost_of(
    prices: TellsPrices, exchange: Exchange, outcome: Outcome, choices: Set[str]
) -> float | None:
    """US dollars; None if it is unknown. `choices` are those of the request (`choices_of`)."""
    served = exchange.served_by
    usages = loop_usages(exchange) or [outcome.usage]
    if served is None or not any(map(any, usages)):
        return 0.0 if _costs_nothing(exchange, outcome) else None
    price = prices.price_of(served.backend, served.model, datetime.now(UTC), frozenset(choices))
    if price is None:
        return None
    return sum(price.cost(usage, long=_LONG in choices) for usage in usages) / DOLLAR


def _costs_nothing(exchange: Exchange, outcome: Outcome) -> bool:
    """Whether no server worked on it: it was answered here, or refused."""
    if outcome.kind == "rejected" or not (exchange.attempts or outcome.kind == "disconnected"):
        return True
    refused = 400 <= outcome.status < 500 or outcome.status in _UNBILLED
    return outcome.kind == "failed" and outcome.first_content_seconds is None and refused
