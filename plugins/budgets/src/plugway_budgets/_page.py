"""`GET /api/oauth/usage`: what a caller spent, for Claude Code's `/usage` and status line.

The format is that of Claude Code's gateways (its page `/protocol`). A caller sees its own spending
only, not that of its groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from plugway_budgets._limits import BUDGETS, Account, Balance
from plugway_budgets._owners import Owner, owner_of
from plugway_budgets._periods import PeriodName, first_moment, period_at, zone_of
from plugway_budgets._refusals import PERIOD, percent
from plugway_prices import DOLLAR
from plugway_store import StoreError

PATH: Final = "/api/oauth/usage"
_CENT: Final = DOLLAR // 100


class Knows(Protocol):
    """Who knows what callers spent."""

    async def accounts_of(self, owner: Owner) -> tuple[Account, ...]:
        """The accounts of a caller now."""
        ...

    async def balances_of(self, accounts: Sequence[Account]) -> Sequence[Balance]:
        """How much of them is used."""
        ...

    async def spent_since(self, owner: Owner, since: datetime) -> int:
        """Nano-dollars that a caller spent."""
        ...


class OwnRoute(Route):
    """A route that every caller may use."""

    limited_callers = True


def usage_route(knows: Knows) -> Route:
    """The route."""

    async def usage(request: Request) -> JSONResponse:
        owner = owner_of(request.scope["plugway.caller"])
        try:
            body = await _document(knows, owner)
        except StoreError as error:
            message = {"type": "api_error", "message": str(error)}
            return JSONResponse({"type": "error", "error": message}, 503)
        return JSONResponse(body, headers={"cache-control": "no-store"})

    return OwnRoute(PATH, usage, methods=["GET"])


async def _document(knows: Knows, owner: Owner) -> dict[str, Any]:
    accounts = [
        account
        for account in await knows.accounts_of(owner)
        if account.limit.unit in BUDGETS and account.owner.kind != "group"
    ]
    balances = await knows.balances_of(accounts)
    found = list(zip(accounts, balances, strict=True))
    in_dollars = [one for one in found if one[0].limit.unit == "dollars"]
    active = max(in_dollars, key=lambda one: percent(one[0].limit, one[1].spent), default=None)
    limits = [_row(account, balance, active) for account, balance in found]
    if active is None:
        return {"extra_usage": await _uncapped(knows, owner), "limits": limits}
    limit, spent = active[0].limit, active[1].spent
    extra = {
        "is_enabled": True,
        "monthly_limit": limit.amount // _CENT,
        "used_credits": spent // _CENT,
        "utilization": percent(limit, spent),
        "currency": "USD",
    }
    return {"extra_usage": extra, "limits": limits}


def _row(
    account: Account, balance: Balance, active: tuple[Account, Balance] | None
) -> dict[str, Any]:
    assert account.ends is not None
    used = percent(account.limit, balance.spent)
    return {
        "kind": "spend",
        "group": PERIOD[account.limit.period],
        "percent": used,
        "resets_at": f"{account.ends.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z",
        "severity": "normal" if used < 75 else "warning" if used < 95 else "critical",
        "is_active": active is not None and account is active[0],
    }


async def _uncapped(knows: Knows, owner: Owner) -> dict[str, Any]:
    """What a caller without a budget in dollars spent."""
    month, day, week = [await _spent(knows, owner, name) for name in ("month", "day", "week")]
    none = {"limit": None, "utilization": None}
    return {
        "is_enabled": True,
        "monthly_limit": None,
        "used_credits": month,
        "utilization": None,
        "currency": "USD",
        "daily": {**none, "used_credits": day},
        "weekly": {**none, "used_credits": week},
    }


async def _spent(knows: Knows, owner: Owner, name: PeriodName) -> int:
    zone = zone_of("UTC")
    start = period_at(name, datetime.now(UTC), zone).start
    return await knows.spent_since(owner, first_moment(start, zone)) // _CENT
