"""Rates: requests and tokens a minute, counted in memory or in Redis.

Of the tokens of a request, those of its prompt are counted before it is sent, by its size, and the
rest when it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from plugway_budgets import _refusals as refusals
from plugway_budgets._limits import Account
from plugway_store import Counters, Rate

RATES = ("requests", "tokens_a_minute")


def rates_in(accounts: Sequence[Account]) -> list[Account]:
    """Those that are rates."""
    return [account for account in accounts if account.limit.unit in RATES]


async def take(counters: Counters, accounts: Sequence[Account], tokens: int) -> None:
    """Count one request. Raises `RequestRejected` beyond a rate, and `StoreError`."""
    for account in rates_in(accounts):
        limit = account.limit
        cost = tokens if limit.unit == "tokens_a_minute" else 1
        if cost > limit.amount:
            raise refusals.too_large(limit, account.owner, cost)
        rate = Rate(limit.amount)
        if cost and not await counters.take(rate, *_names(account), cost=cost):
            _, resets = await counters.left(rate, *_names(account))
            raise refusals.too_fast(limit, account.owner, resets - time.time())


async def take_more(counters: Counters, accounts: Sequence[Account], tokens: int) -> None:
    """Count tokens that a request used besides those counted before it was sent; they are used, so
    a rate cannot reject them. Raises `StoreError`."""
    for account in accounts:
        if account.limit.unit != "tokens_a_minute":
            continue
        rate = Rate(account.limit.amount)
        left, _ = await counters.left(rate, *_names(account))
        if cost := min(tokens, left):
            await counters.take(rate, *_names(account), cost=cost)


def _names(account: Account) -> tuple[str, ...]:
    return "budgets", *account.owner, account.limit.unit
