"""The plugin: reserves before each attempt, and books what it used."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar, Final

import anyio
import orjson
from starlette.routing import BaseRoute

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Exchange,
    Gateway,
    Headers,
    InvalidRequest,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    RequestRejected,
    Send,
    StateKey,
    hookimpl,
    new_id,
)
from plugway_budgets import _ledger as ledger
from plugway_budgets import _rates as rates
from plugway_budgets import _refusals as refusals
from plugway_budgets._ledger import Charge, Settlement
from plugway_budgets._limits import (
    BUDGETS,
    HELD,
    Account,
    Balance,
    Demand,
    Limit,
    Subject,
    limits_for,
)
from plugway_budgets._options import BudgetsOptions
from plugway_budgets._owners import Owner, owner_of
from plugway_budgets._page import usage_route
from plugway_budgets._report import spent_since
from plugway_budgets._requests import demand_of, raw_of
from plugway_budgets._reserver import Open, Reserver, Sent
from plugway_budgets._schema import SCHEMA
from plugway_budgets._settler import Settler
from plugway_budgets._usage import CUT, Used, cost_of, read_by_kernel, used_by
from plugway_prices import TellsPrices, choices_of, missing_price, prices_in
from plugway_store import Store, StoreError, the_store

REFRESH_SECONDS: Final = 2.0
"""How long a gateway uses limits that it has read."""
RENEW_SECONDS: Final = 8.0
_FLUSH_SECONDS: Final = 15.0
_FORGET_SECONDS: Final = 3600.0
_OPEN: StateKey[Open] = StateKey("budgets")


@dataclass(frozen=True, slots=True)
class _Running:
    """What there is while the gateway runs."""

    store: Store
    settler: Settler
    reserver: Reserver
    prices: TellsPrices


class Budgets(Plugin[BudgetsOptions]):
    """Limits what people, groups and keys spend, and how fast."""

    requires: ClassVar[tuple[str, ...]] = ("store",)

    def __init__(self, options: BudgetsOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.now = lambda: datetime.now(UTC)
        self._running: _Running | None = None
        self._lease = new_id("gw")
        self._limits: Mapping[Subject, Sequence[Limit]] = {}
        self._read_at = float("-inf")

    @hookimpl
    def register_routes(self) -> Sequence[BaseRoute]:
        """Serve what a caller spent, for the client."""
        return [usage_route(self)]

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """Open the database; at the end, book what is left and give up reservations."""
        return self._live(gateway)

    @hookimpl
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> None:
        """Skip a target that is too expensive if there is another one."""
        if exchange.endpoint != "messages" or attempt.last:
            return
        accounts = await self._accounts(owner_of(exchange.caller))
        if not any(account.limit.unit in BUDGETS for account in accounts):
            return
        demand = self._demand(request, attempt, accounts)
        reserver = self._now.reserver
        try:
            balances = await self.balances_of(accounts)
        except StoreError:
            return
        if reserver.short(accounts, balances, demand) is None:
            return
        demand = await reserver.counted(demand, request, attempt)
        if (short := reserver.short(accounts, balances, demand)) is not None:
            refusal = refusals.spent(*short, demand, self.options.contact)
            why = f"skipped `{attempt.target}`: what is left of a budget does not pay for it"
            exchange.note(self.name, why, stage="prepare_attempt")
            raise _skipped(refusal, exchange.id)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Reserve the most that the attempt can cost, and send it."""
        owner = owner_of(exchange.caller)
        accounts = await self._accounts(owner)
        now = exchange.state.get(_OPEN)
        if now is None:
            now = exchange.state[_OPEN] = Open(estimated=len(raw_of(request)) // 4)
            await self._within_rates(accounts, now.estimated)
        self._settle_ended(now, owner)
        held = tuple(a for a in accounts if a.limit.unit in HELD and not now.holds(a))
        demand = self._demand(request, attempt, held)
        size = len(raw_of(request))
        sent = Sent(new_id("use"), held, demand, attempt.target, size, time.monotonic(), self.now())
        now.sent.append(sent)
        balances: Sequence[Balance] = ()
        try:
            if held:
                request, balances = await self._now.reserver.reserve(sent, request, attempt)
            sent.asked = True
            sent.began = time.monotonic()
            sent.reply = await send(request, attempt)
        except BackendError as failure:
            now.sent.remove(sent)
            await self._failed(sent, failure, owner)
            raise
        except RequestRejected:
            now.sent.remove(sent)
            self._now.settler.put(Settlement(sent.id))
            raise
        return _with_headers(sent.reply, refusals.standing(sent.accounts, balances))

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Book what the exchange used."""
        now = exchange.state.get(_OPEN)
        if now is None:
            return
        owner = owner_of(exchange.caller)
        for sent in now.sent:
            now.used += self._settle(sent, owner, outcome)
        accounts = limits_for(owner.subjects, self._limits, self.now())
        if now.used > now.estimated and rates.rates_in(accounts):
            counters, more = self._now.store.counters, now.used - now.estimated
            self._now.settler.later(partial(rates.take_more, counters, accounts, more))

    # ── limits ───────────────────────────────────────────────────────────────────────────────

    @property
    def _now(self) -> _Running:
        assert self._running is not None, "requests are served while the plugin is open"
        return self._running

    async def accounts_of(self, owner: Owner) -> tuple[Account, ...]:
        """The accounts of a caller now. Raises `StoreError`."""
        if time.monotonic() - self._read_at > REFRESH_SECONDS:
            try:
                self._limits = await self._now.store.read(ledger.all_limits)
            except StoreError as error:
                if error.kind != "unreachable":
                    raise
                # A connection is found to be lost when it is used.
                self._limits = await self._now.store.read(ledger.all_limits)
            self._read_at = time.monotonic()
        return limits_for(owner.subjects, self._limits, self.now()) if self._limits else ()

    async def booked(self, seconds: float) -> bool:
        """Wait until what requests used so far is booked; whether it is."""
        return await self._now.settler.flush(seconds)

    async def set(self, limit: Limit) -> None:
        """Set a limit; this gateway follows at once. Raises `StoreError`."""
        await self._now.store.write(ledger.set_limit, limit)
        self._read_at = float("-inf")

    async def balances_of(self, accounts: Sequence[Account]) -> Sequence[Balance]:
        """How much of accounts is used. Raises `StoreError`."""
        return await self._now.store.read(ledger.balances, accounts)

    async def spent_since(self, owner: Owner, since: datetime) -> int:
        """Nano-dollars that a caller spent. Raises `StoreError`."""
        return await self._now.store.read(
            spent_since, owner.person, owner.key, int(since.timestamp())
        )

    async def _accounts(self, owner: Owner) -> tuple[Account, ...]:
        try:
            return await self.accounts_of(owner)
        except ValueError as error:  # a time zone that this machine does not know
            raise refusals.unavailable(str(error)) from error
        except StoreError as error:
            if self.options.if_unavailable == "refuse":
                raise refusals.unavailable(str(error)) from error
            return limits_for(owner.subjects, self._limits, self.now())

    async def _within_rates(self, accounts: Sequence[Account], tokens: int) -> None:
        try:
            await rates.take(self._now.store.counters, accounts, tokens)
        except StoreError as error:
            if self.options.if_unavailable == "refuse":
                raise refusals.unavailable(str(error)) from error

    def _demand(
        self, request: MessagesRequest, attempt: Attempt, accounts: Sequence[Account]
    ) -> Demand:
        """The most that a request can use. Raises `InvalidRequest` if a price is missing."""
        choices = choices_of(request)
        price = self._now.prices.price_of(attempt.backend, attempt.model, self.now(), choices)
        if price is None and any(account.limit.unit == "dollars" for account in accounts):
            message = missing_price(attempt.backend, attempt.model)
            raise InvalidRequest(message, retry=False, record=True)
        return demand_of(request, price, choices)

    # ── settling ─────────────────────────────────────────────────────────────────────────────

    def _settle_ended(self, now: Open, owner: Owner) -> None:
        """Book earlier requests of the exchange that have ended: some plugins make several."""
        for sent in list(now.sent):
            used = used_by(sent.reply) if sent.reply else None
            if used is not None and used.ended:
                now.sent.remove(sent)
                now.used += self._book(sent, owner, used)

    def _settle(self, sent: Sent, owner: Owner, outcome: Outcome) -> int:
        """Book a request at the end of its exchange; returns its tokens."""
        if not sent.asked or (sent.reply is not None and sent.reply.status >= 400):
            self._now.settler.put(Settlement(sent.id))
            return 0
        used = CUT if sent.reply is None else used_by(sent.reply)
        if used is None:
            used = read_by_kernel(outcome.usage, completed=outcome.kind == "completed")
        return self._book(sent, owner, used)

    async def _failed(self, sent: Sent, failure: BackendError, owner: Owner) -> None:
        """Settle an attempt that failed before any content, before the next one is made."""
        if isinstance(failure, BackendRefused | BackendUnavailable):
            self._now.settler.put(Settlement(sent.id))
        else:  # the server may have worked on it
            self._book(sent, owner, CUT)
        if sent.accounts:
            await self._now.settler.flush(1.0)

    def _book(self, sent: Sent, owner: Owner, used: Used) -> int:
        cost = cost_of(
            sent.demand,
            used,
            size=sent.size,
            seconds=time.monotonic() - sent.began,
            speed=self.options.cut_tokens_per_second,
        )
        usage = cost.usage
        if cost.measured:
            self._now.reserver.learn(sent, usage)
        charge = Charge(
            int(sent.at.timestamp()),
            owner.person[:200],
            owner.groups,
            owner.key[:200],
            sent.target[:300],
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_creation_tokens,
            cost.nano,
            cost.measured,
        )
        self._now.settler.put(Settlement(sent.id, sent.accounts, charge))
        return charge.tokens

    # ── the lifespan ─────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        async with the_store(gateway).opened(SCHEMA) as store:
            await store.write(ledger.renew, self._lease)
            settler = Settler(store, self.log)
            reserver = Reserver(store, settler, self._lease, self.options, self.log)
            self._running = _Running(store, settler, reserver, prices_in(gateway))
            async with anyio.create_task_group() as group:
                group.start_soon(settler.run)
                group.start_soon(self._renew, store)
                yield
                with anyio.CancelScope(shield=True):
                    await self._end(store, settler)
                group.cancel_scope.cancel()

    async def _end(self, store: Store, settler: Settler) -> None:
        if not await settler.flush(_FLUSH_SECONDS):
            self.log.error("%d charges are lost: the database is away", settler.waiting)
            return
        try:
            await store.write(ledger.release, self._lease)
        except StoreError as error:
            self.log.warning("reservations are released later: %s", error)

    async def _renew(self, store: Store) -> None:
        """Say that this gateway lives, release what dead ones reserved, and forget what is old."""
        forget_at = time.monotonic()
        while True:
            try:
                if time.monotonic() >= forget_at:
                    forget_at += _FORGET_SECONDS
                    oldest = self.now() - timedelta(days=self.options.keep_days)
                    await store.write(ledger.forget, oldest)
                await store.write(ledger.renew, self._lease)
                for lease, amounts in (await store.write(ledger.release_dead)).items():
                    self.log.warning("released %d amounts of the dead gateway %s", amounts, lease)
            except StoreError as error:
                self.log.info("the lease was not renewed: %s", error)
            await anyio.sleep(RENEW_SECONDS)


def _with_headers(reply: Reply, own: Headers) -> Reply:
    """A reply that reports the caller's own limits instead of those of the upstream's account."""
    if not own:
        return reply
    kept = tuple(line for line in reply.headers if not line[0].startswith(refusals.PREFIX))
    return reply.replace(headers=(*kept, *own))


def _skipped(refusal: RequestRejected, request_id: str) -> BackendError:
    """The failure of an attempt that is not made, so that the next target is tried."""
    error = {"type": refusal.type, "message": refusal.message}
    body = orjson.dumps({"type": "error", "error": error, "request_id": request_id})
    headers = (("content-type", "application/json"), *refusal.headers)
    failure = BackendRefused(
        refusal.status, body, headers=headers, native=True, record=refusal.record
    )
    failure.try_next = True
    return failure
