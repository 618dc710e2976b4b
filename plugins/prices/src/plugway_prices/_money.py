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
    """An amount for people: `$1.50`, with more digits below a dollar, and all below a cent."""
    sign, amount = ("-", -nano) if nano < 0 else ("", nano)
    if amount >= DOLLAR or amount == 0:
        return f"{sign}${Decimal(amount) / DOLLAR:,.2f}"
    digits = 4 if amount >= DOLLAR // 100 else 9
    whole, _, part = f"{Decimal(amount) / DOLLAR:.{digits}f}".partition(".")
    return f"{sign}${whole}.{part[:2]}{part[2:].rstrip('0')}"
