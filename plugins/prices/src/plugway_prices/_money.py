"""Amounts of money: whole nano-dollars, so that sums are exact and fit a 64-bit column."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

DOLLAR: Final = 10**9
"""Nano-dollars in a dollar."""


def nano_dollars(amount: Decimal | int | str) -> int:
    """`amount` dollars in nano-dollars; fractions of one are rounded up."""
    whole, rest = divmod(Decimal(amount) * DOLLAR, 1)
    return int(whole) + (rest > 0)


def dollars(nano: int) -> str:
    """An amount for people: `$1.50`, with more digits below a cent."""
    sign, amount = ("-", -nano) if nano < 0 else ("", nano)
    if 0 < amount < DOLLAR // 100:
        text = f"{Decimal(amount) / DOLLAR:.9f}".rstrip("0")
        return f"{sign}${text}"
    return f"{sign}${Decimal(amount) / DOLLAR:,.2f}"
