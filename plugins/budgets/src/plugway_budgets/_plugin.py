"""The plugin: reserves before each attempt, and books what it used."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final

import anyio
import orjson
from starlette.routing import BaseRoute

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Bounded,
    Exchange,
    Gateway,
    InvalidRequest,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    RequestRejected,
    Send,
    StateKey,
    as_object,
    hookimpl,
    new_id,
)
from plugway_budgets import _ledger as ledger
from plugway_budgets import _refusals as refusals
from plugway_budgets._ledger import Charge, Reserved, Settlement
from plugway_budgets._limits import (
    BUDGETS,
    HELD,
    Account,
    Balance,
    Demand,
    Limit,
    Subject,
    Unit,
    limits_for,
)
from plugway_budgets._options import BudgetsOptions
from plugway_budgets._owners import Owner, owner_of
from plugway_budgets._page import usage_route
from plugway_budgets._schema import SCHEMA
from plugway_budgets._settler import Settler
from plugway_budgets._usage import CUT, Used, cost_of, prompt_of, read_by_kernel, used_by
from plugway_prices import TellsPrices, choices_of, missing_price, prices_in
from plugway_store import Rate, Store, StoreError, the_store

REFRESH_SECONDS: Final = 2.0
"""How long a gateway uses limits that it has read."""
RENEW_SECONDS: Final = 8.0
_COUNT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.25
_FLUSH_SECONDS: Final = 15.0
_FULL_IMAGE: Final = 5000
"""Tokens of an image or a page, at most."""
_LEAST_THINKING: Final = 1024
"""The smallest thinking budget that the API accepts."""
_NO_LIMIT: Final = 32_000
"""Tokens of a reply for which the client gave no limit."""
_DENSER: Final = 1.25
"""How much denser than any prompt before one may be, where the server cannot count."""


@dataclass(slots=True)
class _Sent:
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


@dataclass(slots=True)
class _Open:
    """What an exchange has not settled yet."""

    sent: list[_Sent] = field(default_factory=list["_Sent"])
    counted: bool = False
    """Whether the exchange was counted against rates."""
    estimated: int = 0
    """Tokens that were counted against rates before they were used."""
    used: int = 0
    """Tokens of requests that are settled."""


_OPEN: StateKey[_Open] = StateKey("budgets")


class Budgets(Plugin[BudgetsOptions]):
    """Limits what people, groups and keys spend, and how fast."""

    requires: ClassVar[tuple[str, ...]] = ("store",)

    def __init__(self, options: BudgetsOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.now = lambda: datetime.now(UTC)
        self._store: Store | None = None
        self._settler: Settler | None = None
        self._prices: TellsPrices | None = None
        self._lease = new_id("gw")
        self._limits: Mapping[Subject, Sequence[Limit]] = {}
        self._read_at = float("-inf")
        self._density: Bounded[str, float] = Bounded(256)

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
        try:
            balances = await self._opened.read(ledger.balances, accounts)
        except StoreError:
            return
        if self._short(accounts, balances, demand) is None:
            return
        demand = await self._counted(demand, request, attempt)
        if (short := self._short(accounts, balances, demand)) is not None:
            told = refusals.spent(*short, demand, self.options.contact)
            raise _skipped(told, exchange.id)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Reserve the most that the attempt can cost, and send it."""
        owner = owner_of(exchange.caller)
        accounts = await self._accounts(owner)
        now = exchange.state.get(_OPEN)
        if now is None:
            now = exchange.state[_OPEN] = _Open()
        await self._within_rates(now, accounts, request)
        self._settle_ended(now, owner)
        held = tuple(a for a in accounts if a.limit.unit in HELD and not _holds(now, a))
        demand = self._demand(request, attempt, held)
        size = len(_raw(request))
        sent = _Sent(
            new_id("use"), held, demand, attempt.target, size, time.monotonic(), self.now()
        )
        now.sent.append(sent)
        balances: Sequence[Balance] = ()
        try:
            if held:
                request, balances = await self._reserve(sent, request, attempt)
            sent.asked = True
            sent.began = time.monotonic()
            sent.reply = await send(request, attempt)
        except BackendError as failure:
            now.sent.remove(sent)
            await self._failed(sent, failure, owner)
            raise
        except RequestRejected:
            now.sent.remove(sent)
            self._put(Settlement(sent.id))
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
        if now.used > now.estimated:
            self._count_replies(owner, now.used - now.estimated)

    # ── reserving ────────────────────────────────────────────────────────────────────────────

    async def _reserve(
        self, sent: _Sent, request: MessagesRequest, attempt: Attempt
    ) -> tuple[MessagesRequest, Sequence[Balance]]:
        """The request as its accounts pay for it, and their balances before it.

        Raises `RequestRejected` if they do not.
        """
        asked = sent.demand
        if _is_open_ended(request) and _bounds(sent):
            request = _limited(request, asked.most)
        try:
            balances = await self._taken(sent, request, attempt)
        except StoreError as error:
            if self.options.if_unavailable == "refuse":
                raise refusals.unavailable(str(error)) from error
            self._put(Settlement(sent.id))  # it may have been reserved
            attempt.exchange.note(self.name, "not checked: the database does not respond")
            return request, tuple(Balance() for _ in sent.accounts)
        if sent.demand.most < asked.most:
            request = _shorter(request, sent.demand.most, _because(sent.accounts, balances))
        return request, balances

    async def _taken(
        self, sent: _Sent, request: MessagesRequest, attempt: Attempt
    ) -> Sequence[Balance]:
        """Reserve; the balances before it. A demand that is too high is lowered in `sent`."""
        found = await self._try_to_take(sent, sent.demand)
        if isinstance(found, Reserved):
            return found.before
        accounts = sent.accounts
        demand = await self._counted(sent.demand, request, attempt)
        deadline = time.monotonic() + self.options.wait_seconds
        while True:
            if self._settler is not None and self._settler.waiting:
                await self._settler.flush(_POLL_SECONDS)
            found = await self._try_to_take(sent, demand, lower=True)
            if isinstance(found, Reserved):
                return found.before
            spent = [Balance(one.spent) for one in found]
            if (short := self._short(accounts, spent, demand)) is not None:
                raise refusals.spent(*short, demand, self.options.contact)
            if time.monotonic() >= deadline:
                # Only what running requests reserved is missing.
                full = self._short(accounts, found, demand)
                raise refusals.occupied(full[0] if full else accounts[0])
            await anyio.sleep(_POLL_SECONDS)

    async def _try_to_take(
        self, sent: _Sent, demand: Demand, *, lower: bool = False
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
        found = await self._opened.write(
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
        return demand.within(left, self.options.least_output_tokens)

    def _short(
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

    def _demand(
        self, request: MessagesRequest, attempt: Attempt, accounts: Sequence[Account]
    ) -> Demand:
        """The most that a request can use, without knowing how many tokens its prompt has."""
        choices = choices_of(request)
        assert self._prices is not None
        price = self._prices.price_of(attempt.backend, attempt.model, self.now(), choices)
        if price is None and any(account.limit.unit == "dollars" for account in accounts):
            message = missing_price(attempt.backend, attempt.model)
            raise InvalidRequest(message, retry=False, record=True)
        most = request.get("max_tokens")
        known = isinstance(most, int) and not isinstance(most, bool) and most >= 0
        raw = _raw(request)
        media = raw.count(b'"base64"') + raw.count(b'"url"') + raw.count(b'"file_id"')
        return Demand(
            len(raw) + media * _FULL_IMAGE,
            most if known else _NO_LIMIT,
            price,
            "cache: long" in choices,
            _replies(request),
        )

    async def _counted(self, demand: Demand, request: MessagesRequest, attempt: Attempt) -> Demand:
        """The demand with the prompt as the server counts it; where it cannot, as dense as those
        before at most."""
        counted: Any = None
        with anyio.move_on_after(_COUNT_SECONDS):
            try:
                counted = await attempt.backend.count(request, attempt)
            except (BackendError, RequestRejected) as error:
                self.log.info("`%s` did not count tokens: %s", attempt.target, error.record)
        if isinstance(counted, Reply):
            counted = counted.parsed.get("input_tokens") if counted.status == 200 else None
        if not isinstance(counted, int) or counted <= 0:
            density = self._density.get(attempt.target, 1.0)
            counted = int(len(_raw(request)) * min(1.0, density * _DENSER))
        return replace(demand, prompt=min(demand.prompt, counted + counted // 100 + 16))

    # ── limits ───────────────────────────────────────────────────────────────────────────────

    @property
    def _opened(self) -> Store:
        assert self._store is not None, "the database is open while requests are served"
        return self._store

    async def accounts_of(self, owner: Owner) -> tuple[Account, ...]:
        """The accounts of a caller now. Raises `StoreError`."""
        if time.monotonic() - self._read_at > REFRESH_SECONDS:
            self._limits = await self._opened.read(ledger.all_limits)
            self._read_at = time.monotonic()
        return limits_for(owner.subjects, self._limits, self.now()) if self._limits else ()

    async def booked(self, seconds: float) -> bool:
        """Wait until what requests used so far is booked; whether it is."""
        return self._settler is None or await self._settler.flush(seconds)

    async def set(self, limit: Limit) -> None:
        """Set a limit; this gateway follows at once. Raises `StoreError`."""
        await self._opened.write(ledger.set_limit, limit)
        self._read_at = float("-inf")

    async def balances_of(self, accounts: Sequence[Account]) -> Sequence[Balance]:
        """How much of accounts is used. Raises `StoreError`."""
        return await self._opened.read(ledger.balances, accounts)

    async def spent_since(self, owner: Owner, since: datetime) -> int:
        """Nano-dollars that a caller spent. Raises `StoreError`."""
        return await self._opened.read(
            ledger.spent_since, owner.person, owner.key, int(since.timestamp())
        )

    async def _accounts(self, owner: Owner) -> tuple[Account, ...]:
        try:
            return await self.accounts_of(owner)
        except StoreError as error:
            if self.options.if_unavailable == "refuse":
                raise refusals.unavailable(str(error)) from error
            return limits_for(owner.subjects, self._limits, self.now())

    async def _within_rates(
        self, now: _Open, accounts: Sequence[Account], request: MessagesRequest
    ) -> None:
        """Count an exchange against its rates, once."""
        if now.counted:
            return
        now.counted = True
        now.estimated = len(_raw(request)) // 4
        for account in accounts:
            limit = account.limit
            if limit.unit not in ("requests", "tokens_a_minute"):
                continue
            cost = now.estimated if limit.unit == "tokens_a_minute" else 1
            if cost > limit.amount:
                raise refusals.too_large(limit, account.owner, cost)
            names = (self.name, *account.owner, limit.unit)
            counters = self._opened.counters
            try:
                if cost and not await counters.take(Rate(limit.amount), *names, cost=cost):
                    _, resets = await counters.left(Rate(limit.amount), *names)
                    raise refusals.too_fast(limit, account.owner, resets - time.time())
            except StoreError as error:
                if self.options.if_unavailable == "refuse":
                    raise refusals.unavailable(str(error)) from error

    # ── settling ─────────────────────────────────────────────────────────────────────────────

    def _settle_ended(self, now: _Open, owner: Owner) -> None:
        """Book earlier requests of the exchange that have ended: some plugins make several."""
        for sent in list(now.sent):
            used = used_by(sent.reply) if sent.reply else None
            if used is not None and used.ended:
                now.sent.remove(sent)
                now.used += self._book(sent, owner, used)

    def _settle(self, sent: _Sent, owner: Owner, outcome: Outcome) -> int:
        """Book a request at the end of its exchange; returns its tokens."""
        if not sent.asked or (sent.reply is not None and sent.reply.status >= 400):
            self._put(Settlement(sent.id))
            return 0
        used = CUT if sent.reply is None else used_by(sent.reply)
        if used is None:
            used = read_by_kernel(outcome.usage, completed=outcome.kind == "completed")
        return self._book(sent, owner, used)

    async def _failed(self, sent: _Sent, failure: BackendError, owner: Owner) -> None:
        """Settle an attempt that failed before any content, before the next one is made."""
        if isinstance(failure, BackendRefused | BackendUnavailable):
            self._put(Settlement(sent.id))
        else:  # the server may have worked on it
            self._book(sent, owner, CUT)
        if sent.accounts and self._settler is not None:
            await self._settler.flush(1.0)

    def _book(self, sent: _Sent, owner: Owner, used: Used) -> int:
        cost = cost_of(
            sent.demand,
            used,
            size=sent.size,
            seconds=time.monotonic() - sent.began,
            speed=self.options.cut_tokens_per_second,
        )
        usage = cost.usage
        if cost.measured:
            density = prompt_of(usage) / max(1, sent.size)
            self._density[sent.target] = max(density, self._density.get(sent.target, 0.0))
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
        self._put(Settlement(sent.id, sent.accounts, charge))
        return charge.tokens

    def _put(self, settlement: Settlement) -> None:
        if self._settler is not None:
            self._settler.put(settlement)

    def _count_replies(self, owner: Owner, tokens: int) -> None:
        """Count the tokens of replies against rates, of which only the prompt was counted."""
        rates = [
            account
            for account in limits_for(owner.subjects, self._limits, self.now())
            if account.limit.unit == "tokens_a_minute"
        ]
        if rates and self._settler is not None:
            self._settler.later(partial(self._count_more, rates, tokens))

    async def _count_more(self, rates: Sequence[Account], tokens: int) -> None:
        for account in rates:
            rate = Rate(account.limit.amount)
            names = (self.name, *account.owner, account.limit.unit)
            left, _ = await self._opened.counters.left(rate, *names)
            if cost := min(tokens, left):
                await self._opened.counters.take(rate, *names, cost=cost)

    # ── the lifespan ─────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        self._prices = prices_in(gateway)
        async with the_store(gateway).opened(SCHEMA) as store:
            await store.write(ledger.renew, self._lease)
            self._store, self._settler = store, Settler(store, self.log)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._settler.run)
                    group.start_soon(self._renew, store)
                    yield
                    with anyio.CancelScope(shield=True):
                        await self._end(store, self._settler)
                    group.cancel_scope.cancel()
            finally:
                self._store = self._settler = None

    async def _end(self, store: Store, settler: Settler) -> None:
        if not await settler.flush(_FLUSH_SECONDS):
            self.log.error("%d charges are lost: the database is away", settler.waiting)
            return
        try:
            await store.write(ledger.release, self._lease)
        except StoreError as error:
            self.log.warning("reservations are released later: %s", error)

    async def _renew(self, store: Store) -> None:
        """Say that this gateway lives, and release what dead ones reserved."""
        while True:
            try:
                await store.write(ledger.renew, self._lease)
                for lease, amounts in (await store.write(ledger.release_dead)).items():
                    self.log.warning("released %d amounts of the dead gateway %s", amounts, lease)
            except StoreError as error:
                self.log.info("the lease was not renewed: %s", error)
            await anyio.sleep(RENEW_SECONDS)


def _raw(request: MessagesRequest) -> bytes:
    """The body that makes up the prompt."""
    return request.raw if request.original is None else request.original.body


def _replies(request: MessagesRequest) -> int:
    """How many replies a request of another API asks for."""
    wanted = request.original.get("n") if request.original is not None else 1
    return wanted if isinstance(wanted, int) and 1 <= wanted <= 128 else 1


def _holds(now: _Open, account: Account) -> bool:
    """Whether an exchange is one of the running requests already."""
    return account.limit.unit == "streams" and any(account in s.accounts for s in now.sent)


def _is_open_ended(request: MessagesRequest) -> bool:
    """Whether the client gave no limit for the reply."""
    original = request.original
    if original is not None:
        return "max_tokens" in original.made_up
    return request.get("max_tokens") is None


def _bounds(sent: _Sent) -> bool:
    """Whether the length of the reply matters to the accounts."""
    price = sent.demand.price
    units = {account.limit.unit for account in sent.accounts}
    return "tokens" in units or ("dollars" in units and price is not None and not price.free)


def _limited(request: MessagesRequest, most: int) -> MessagesRequest:
    """The request with a limit that the server is told too."""
    if request.original is not None:
        request.original.made_up.discard("max_tokens")  # otherwise it would not be sent
    return request.replace(max_tokens=most, because="a budget limits replies")


def _shorter(request: MessagesRequest, most: int, because: str) -> MessagesRequest:
    """The request with a shorter reply, and its thinking budget below that."""
    fields: dict[str, Any] = {"max_tokens": most}
    thinking = as_object(request.get("thinking"))
    budget = thinking.get("budget_tokens")
    if isinstance(budget, int) and budget >= most:
        less = most // 2
        enough = less >= _LEAST_THINKING
        fields["thinking"] = {**thinking, "budget_tokens": less} if enough else {"type": "disabled"}
    return request.replace(because=because, **fields)


def _because(accounts: Sequence[Account], balances: Sequence[Balance]) -> str:
    parts = [
        f"{refusals.amount_text(account.limit, balance.left(account.limit))} of the "
        f"{refusals.PERIOD[account.limit.period]} budget of {account.limit.text}"
        for account, balance in zip(accounts, balances, strict=True)
        if account.limit.unit in BUDGETS and account.owner.kind != "group"
    ]
    return f"left are {' and '.join(parts) or 'parts of the budget of a group'}"


def _with_headers(reply: Reply, told: Sequence[tuple[str, str]]) -> Reply:
    """A reply that reports the caller's own limits instead of those of the upstream's account."""
    if not told:
        return reply
    kept = tuple(line for line in reply.headers if not line[0].startswith(refusals.PREFIX))
    return reply.replace(headers=(*kept, *told))


def _skipped(told: RequestRejected, request_id: str) -> BackendError:
    """The failure of an attempt that is not made, so that the next target is tried."""
    error = {"type": told.type, "message": told.message}
    body = orjson.dumps({"type": "error", "error": error, "request_id": request_id})
    headers = (("content-type", "application/json"), *told.headers)
    failure = BackendRefused(told.status, body, headers=headers, native=True, record=told.record)
    failure.try_next = True
    return failure
