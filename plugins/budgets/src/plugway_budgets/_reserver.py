"""Reserves what an attempt can use, and lowers `max_tokens` to what is left.

`_limits` has the arithmetic, `_ledger` the transactions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from plugway import (
    Attempt,
    BackendError,
    Bounded,
    MessagesRequest,
    Reply,
    RequestRejected,
    Usage,
    new_id,
)
from plugway_budgets import _ledger as ledger
from plugway_budgets import _refusals as refusals
from plugway_budgets._ledger import Reserved, Settlement
from plugway_budgets._limits import BUDGETS, HELD, Account, Balance, Demand, Unit
from plugway_budgets._options import BudgetsOptions
from plugway_budgets._requests import beyond_bytes, is_open_ended, limited, raw_of, shorter
from plugway_budgets._settler import Settler
from plugway_budgets._usage import prompt_of
from plugway_prices import media_in
from plugway_store import Store, StoreError

_COUNT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.25
_DENSER: Final = 1.25
"""How much denser than any prompt before one may be, where the server cannot count."""


@dataclass(slots=True)
class Sent:
    """One attempt that was sent."""

    id: str
    accounts: tuple[Account, ...]
    demand: Demand
    target: str
    size: int
    began: float
    at: datetime
    asked: bool = False
    """Whether the request was sent."""
    reply: Reply | None = None

    @property
    def is_bound(self) -> bool:
        """Whether the length of the reply matters to the accounts."""
        price = self.demand.price
        units = {account.limit.unit for account in self.accounts}
        return "tokens" in units or ("dollars" in units and price is not None and not price.free)


@dataclass(slots=True)
class Open:
    """What an exchange has not settled yet."""

    sent: list[Sent] = field(default_factory=list["Sent"])
    estimated: int = 0
    """Tokens that were counted against rates before they were used."""
    used: int = 0
    """Tokens of requests that are settled."""

    def holds(self, account: Account) -> bool:
        """Whether the exchange is one of the running requests already."""
        return account.limit.unit == "streams" and any(account in s.accounts for s in self.sent)


class Reserver:
    """Reserves in one database, for one gateway."""

    def __init__(
        self,
        store: Store,
        settler: Settler,
        lease: str,
        options: BudgetsOptions,
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._settler = settler
        self._lease = lease
        self._options = options
        self._log = log
        self._density: Bounded[str, float] = Bounded(256)

    def learn(self, sent: Sent, usage: Usage) -> None:
        """Learn from a counted prompt how many tokens a byte can have."""
        density = prompt_of(usage) / max(1, sent.size)
        self._density[sent.target] = max(density, self._density.get(sent.target, 0.0))

    async def reserve(
        self, sent: Sent, request: MessagesRequest, attempt: Attempt
    ) -> tuple[MessagesRequest, Sequence[Balance]]:
        """The request as its accounts pay for it, and their balances before it.

        Raises `RequestRejected` if they do not.
        """
        asked = sent.demand
        if is_open_ended(request) and sent.is_bound:
            request = limited(request, asked.most)
        try:
            balances = await self._taken_or_again(sent, request, attempt)
        except StoreError as error:
            if self._options.if_unavailable == "refuse":
                raise refusals.unavailable(str(error)) from error
            self._settler.put(Settlement(sent.id))  # it may have been reserved
            attempt.exchange.note("budgets", "not checked: the database does not respond")
            return request, tuple(Balance() for _ in sent.accounts)
        if sent.demand.most < asked.most:
            request = shorter(request, sent.demand.most, _because(sent.accounts, balances))
        return request, balances

    async def _taken_or_again(
        self, sent: Sent, request: MessagesRequest, attempt: Attempt
    ) -> Sequence[Balance]:
        """Reserve; once more if the connection was lost, as by a restart of the database."""
        try:
            return await self._taken(sent, request, attempt)
        except StoreError as error:
            if error.kind != "unreachable":
                raise
            self._settler.put(Settlement(sent.id))  # it may have been reserved
            sent.id = new_id("use")
            return await self._taken(sent, request, attempt)

    async def _taken(
        self, sent: Sent, request: MessagesRequest, attempt: Attempt
    ) -> Sequence[Balance]:
        """Reserve; the balances before it. A demand that is too high is lowered in `sent`."""
        if media_in(request).documents:  # whose bound would hold up other requests for nothing
            sent.demand = await self.counted(sent.demand, request, attempt)
        found = await self._try_to_take(sent, sent.demand)
        if isinstance(found, Reserved):
            return found.before
        accounts = sent.accounts
        demand = await self.counted(sent.demand, request, attempt)
        deadline = time.monotonic() + self._options.wait_seconds
        while True:
            if self._settler.waiting:
                await self._settler.flush(_POLL_SECONDS)
            found = await self._try_to_take(sent, demand, lower=True)
            if isinstance(found, Reserved):
                return found.before
            spent = [Balance(one.spent) for one in found]
            if (short := self.short(accounts, spent, demand)) is not None:
                raise refusals.spent(*short, demand, self._options.contact)
            if time.monotonic() >= deadline:
                # Only what running requests reserved is missing.
                full = self.short(accounts, found, demand)
                raise refusals.occupied(full[0] if full else accounts[0])
            await anyio.sleep(_POLL_SECONDS)

    async def _try_to_take(
        self, sent: Sent, demand: Demand, *, lower: bool = False
    ) -> Reserved | tuple[Balance, ...]:
        accounts = sent.accounts
        fitting = demand

        def fit(balances: Sequence[Balance]) -> list[int] | None:
            nonlocal fitting
            lowered = self._within(accounts, balances, demand)
            if lowered is None:
                return None
            fitting = lowered
            return [lowered.of(account.limit.unit) for account in accounts]

        amounts = [demand.of(account.limit.unit) for account in accounts]
        found = await self._store.write(
            ledger.reserve, sent.id, self._lease, accounts, amounts, fit if lower else None
        )
        if isinstance(found, Reserved):
            sent.demand = fitting
        return found

    def _within(
        self, accounts: Sequence[Account], balances: Sequence[Balance], demand: Demand
    ) -> Demand | None:
        left: list[tuple[Unit, int]] = [
            (account.limit.unit, balance.left(account.limit))
            for account, balance in zip(accounts, balances, strict=True)
            if account.limit.unit in HELD
        ]
        return demand.within(left, self._options.least_output_tokens)

    def short(
        self, accounts: Sequence[Account], balances: Sequence[Balance], demand: Demand
    ) -> tuple[Account, Balance] | None:
        """The account that does not pay for it; of several, the one that begins again last."""
        short = [
            (account, balance)
            for account, balance in zip(accounts, balances, strict=True)
            if account.limit.unit in BUDGETS and self._within([account], [balance], demand) is None
        ]
        never = datetime.min.replace(tzinfo=UTC)
        return max(short, key=lambda one: one[0].ends or never, default=None)

    async def counted(self, demand: Demand, request: MessagesRequest, attempt: Attempt) -> Demand:
        """The demand with the prompt as the server counts it; where it cannot, as dense as those
        before at most."""
        counted: Any = None
        with anyio.move_on_after(_COUNT_SECONDS):
            try:
                counted = await attempt.backend.count(request, attempt)
            except (BackendError, RequestRejected) as error:
                self._log.info("`%s` did not count tokens: %s", attempt.target, error.record)
        if isinstance(counted, Reply):
            counted = counted.parsed.get("input_tokens") if counted.status == 200 else None
        if not isinstance(counted, int) or counted <= 0:
            density = self._density.get(attempt.target, 1.0)
            counted = int(len(raw_of(request)) * min(1.0, density * _DENSER))
            counted += beyond_bytes(request)
        return replace(demand, prompt=min(demand.prompt, counted + counted // 100 + 16))


def _because(accounts: Sequence[Account], balances: Sequence[Balance]) -> str:
    parts = [
        f"{account.limit.text_of(balance.left(account.limit))} of the "
        f"{refusals.PERIOD[account.limit.period]} budget of {account.limit.text}"
        for account, balance in zip(accounts, balances, strict=True)
        if account.limit.unit in BUDGETS and account.owner.kind != "group"
    ]
    return f"left are {' and '.join(parts) or 'parts of the budget of a group'}"
