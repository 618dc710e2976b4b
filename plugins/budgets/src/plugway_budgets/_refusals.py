"""How a caller learns of its limits: error replies, and headers of successes.

The format is that of Claude Code's gateways (its page `/protocol`), so that the client shows the
message as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from plugway import Headers, RequestRejected
from plugway_budgets._limits import BUDGETS, Account, Balance, Demand, Limit, Subject
from plugway_budgets._periods import PeriodName, zone_of

PREFIX: Final = "anthropic-ratelimit-"
_UNIFIED: Final = f"{PREFIX}unified"
_OVERAGE: Final = f"{_UNIFIED}-overage"
PERIOD: Final[dict[PeriodName, str]] = {"day": "daily", "week": "weekly", "month": "monthly"}
_THRESHOLDS: Final = (95, 75)


def fullest(accounts: Sequence[Account], balances: Sequence[Balance]) -> tuple[Account, int] | None:
    """The caller's own budget of which the largest part is spent, and that part in percent, rounded
    down. What a group spent says what others did."""
    found = [
        (account, percent(account.limit, balance.spent))
        for account, balance in zip(accounts, balances, strict=True)
        if account.limit.unit in BUDGETS and account.owner.kind != "group"
    ]
    return max(found, key=lambda one: one[1], default=None)


def percent(limit: Limit, spent: int) -> int:
    """How much is spent, in whole percents."""
    return spent * 100 // limit.amount if limit.amount else 100


def standing(accounts: Sequence[Account], balances: Sequence[Balance]) -> Headers:
    """The headers of a success that report the fullest budget; empty without a budget."""
    found = fullest(accounts, balances)
    if found is None:
        return ()
    account, spent = found
    passed = next((one for one in _THRESHOLDS if spent >= one), None)
    status = "allowed" if passed is None else "allowed_warning"
    ends = _seconds(account)
    surpassed = () if passed is None else ((f"{_OVERAGE}-surpassed-threshold", f"0.{passed}"),)
    return (
        (f"{_UNIFIED}-status", status),
        (f"{_UNIFIED}-representative-claim", "overage"),
        (f"{_OVERAGE}-status", status),
        (f"{_OVERAGE}-utilization", f"0.{min(spent, 99):02}"),
        *surpassed,
        (f"{_UNIFIED}-reset", ends),
        (f"{_OVERAGE}-reset", ends),
    )


def spent(account: Account, balance: Balance, demand: Demand, contact: str) -> RequestRejected:
    """The rejection of a request that a budget does not pay for."""
    limit = account.limit
    left = max(0, limit.amount - balance.spent)
    what = f"The {PERIOD[limit.period]} budget of {named(account.owner)} is spent"
    if account.owner.kind != "group":
        what += f": {limit.text_of(balance.spent)} of {limit.text}"
    if left:
        prompt = f"a prompt of {demand.prompt:,} tokens and a useful reply"
        what += f"; what is left does not pay for {prompt}"
    more = f" {contact}" if contact else ""
    message = f"{what}. It begins again {when(account)}.{more}"
    record = f"the {PERIOD[limit.period]} budget of {limit.subject.kind} is spent"
    assert account.ends is not None
    wait = max(1, int((account.ends - datetime.now(UTC)).total_seconds()) + 1)
    ends = _seconds(account)
    headers = {
        "retry-after": str(wait),
        f"{_UNIFIED}-status": "rejected",
        f"{_UNIFIED}-reset": ends,
        f"{_OVERAGE}-reset": ends,
        f"{_OVERAGE}-utilization": "1",
        f"{_OVERAGE}-surpassed-threshold": "1",
        f"{_OVERAGE}-period": PERIOD[limit.period],
        f"{_OVERAGE}-disabled-reason": "org_spend_cap_reached",
    }
    if limit.subject.kind == "group":
        headers[f"{_OVERAGE}-scope"] = "group_pool"
    return RequestRejected(
        message, status=429, type="billing_error", headers=headers, retry=False, record=record
    )


def occupied(account: Account) -> RequestRejected:
    """The rejection of a request that has to wait until running ones end."""
    limit = account.limit
    if limit.unit == "streams":
        what = f"{named(account.owner)} may have {limit.amount} requests running at once"
    else:
        period = PERIOD[limit.period]
        what = (
            f"running requests have reserved the rest of the {period} budget of "
            f"{named(account.owner)} ({limit.text})"
        )
    message = f"{what[0].upper()}{what[1:]}. Try again when one has ended."
    return RequestRejected(
        message, status=429, headers={"retry-after": "5"}, retry=True, record="limit occupied"
    )


def too_fast(limit: Limit, owner: Subject, wait: float) -> RequestRejected:
    """The rejection of a request beyond a rate."""
    what = "requests" if limit.unit == "requests" else "tokens"
    message = (
        f"{named(owner).capitalize()} may use {limit.amount:,} {what} a minute. Try again soon."
    )
    seconds = str(max(1, int(wait) + 1))
    return RequestRejected(
        message, status=429, headers={"retry-after": seconds}, retry=True, record=f"{what} a minute"
    )


def too_large(limit: Limit, owner: Subject, tokens: int) -> RequestRejected:
    """The rejection of a prompt with more tokens than a minute allows, or where no request is."""
    if limit.unit == "requests":
        message = f"{named(owner).capitalize()} may send no requests: the limit is 0 a minute."
        return RequestRejected(message, status=429, retry=False, record="0 requests a minute")
    message = (
        f"{named(owner).capitalize()} may use {limit.amount:,} tokens a minute, and this prompt "
        f"alone has about {tokens:,}. Shorten the conversation, or raise the limit."
    )
    return RequestRejected(message, status=429, retry=False, record="prompt over tokens a minute")


def unavailable(reason: str) -> RequestRejected:
    """The rejection while the database does not respond."""
    message = (
        f"The budget cannot be checked, so the request was rejected (`if_unavailable: refuse`): "
        f"{reason}"
    )
    headers = {f"{_OVERAGE}-disabled-reason": "fetch_error"}
    return RequestRejected(
        message, status=429, type="billing_error", headers=headers, retry=False, record=reason
    )


def named(owner: Subject) -> str:
    """Whose limit it is, for the caller."""
    return f"{owner.kind} `{owner.name}`"


def when(account: Account) -> str:
    """When a budget begins again, in its own time zone."""
    assert account.ends is not None
    local = account.ends.astimezone(zone_of(account.limit.zone))
    return f"on {local:%A, %Y-%m-%d at %H:%M} ({account.limit.zone})"


def _seconds(account: Account) -> str:
    assert account.ends is not None
    return str(int(account.ends.timestamp()))
