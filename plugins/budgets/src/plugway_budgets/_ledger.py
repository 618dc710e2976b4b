"""What the database does: reserve, settle and release. Each function is one transaction.

A reservation is made before a request is sent and settled once afterwards, whatever happens: its
rows are deleted in the transaction that books the cost. Those of a gateway that died are released
when its lease has expired; what it books later, because it was only slow, counts without them.

Accounts are locked in the order of their keys, so that no two transactions wait for each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from plugway_budgets._limits import Account, Balance, Limit, Subject
from plugway_budgets._schema import ACCOUNT, CHARGE, LEASE, LIMIT, RESERVATION
from plugway_store import insert_into

LEASE_SECONDS: Final = 30
"""A gateway whose lease was not renewed for so long is dead."""

Fit = Callable[[Sequence[Balance]], Sequence[int] | None]
"""The amounts to reserve, given how much of the accounts is used; None to reserve nothing."""

_KEY: Final = (
    (ACCOUNT.c.limit_id == bindparam("limit"))
    & (ACCOUNT.c.owner == bindparam("of"))
    & (ACCOUNT.c.start == bindparam("since"))
)
_TAKE: Final = (
    sa.update(ACCOUNT)
    .where(_KEY & (ACCOUNT.c.spent + ACCOUNT.c.reserved + bindparam("more") <= bindparam("most")))
    .values(reserved=ACCOUNT.c.reserved + bindparam("more"))
    .returning(ACCOUNT.c.spent, ACCOUNT.c.reserved)
)
_LOCKED: Final = sa.select(ACCOUNT.c.spent, ACCOUNT.c.reserved).where(_KEY).with_for_update()
_READ: Final = sa.select(ACCOUNT.c.spent, ACCOUNT.c.reserved).where(_KEY)
_BOOK: Final = (
    sa.update(ACCOUNT)
    .where(_KEY)
    .values(
        spent=ACCOUNT.c.spent + bindparam("cost"),
        reserved=ACCOUNT.c.reserved - bindparam("less"),
    )
)
_HOLD: Final = sa.insert(RESERVATION)
_SETTLED: Final = (
    sa.delete(RESERVATION)
    .where(RESERVATION.c.id.in_(bindparam("ids", expanding=True)))
    .returning(
        RESERVATION.c.limit_id, RESERVATION.c.owner, RESERVATION.c.start, RESERVATION.c.amount
    )
)
_ABANDONED: Final = (
    sa.delete(RESERVATION)
    .where(RESERVATION.c.lease == bindparam("lost"))
    .returning(
        RESERVATION.c.limit_id, RESERVATION.c.owner, RESERVATION.c.start, RESERVATION.c.amount
    )
)


class Reserved(NamedTuple):
    """What was reserved."""

    amounts: tuple[int, ...]
    before: tuple[Balance, ...]
    """The accounts before it."""


class Charge(NamedTuple):
    """What one attempt cost, for the report."""

    at: int
    person: str
    groups: tuple[str, ...]
    key: str
    target: str
    input: int
    output: int
    cache_read: int
    cache_write: int
    nano: int | None
    """None if the price is not known."""
    measured: bool
    """The upstream reported the usage; otherwise it is the most that it can have been."""

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.input + self.output + self.cache_read + self.cache_write


class Settlement(NamedTuple):
    """The end of a reservation."""

    id: str
    accounts: tuple[Account, ...] = ()
    charge: Charge | None = None
    """None if nothing was used."""


# ── reserving ────────────────────────────────────────────────────────────────────────────────────


def reserve(
    connection: Connection,
    reservation: str,
    lease: str,
    accounts: Sequence[Account],
    amounts: Sequence[int],
    fit: Fit | None = None,
) -> Reserved | tuple[Balance, ...]:
    """Reserve at all accounts or at none. If that is too much and `fit` is given, reserve what it
    returns, with the accounts locked. Returns the balances if nothing was reserved."""
    before: list[Balance] = []
    for account, amount in zip(accounts, amounts, strict=True):
        row = _take(connection, account, amount)
        if row is None:
            break
        before.append(Balance(row.spent, row.reserved - amount))
    else:
        _hold(connection, reservation, lease, accounts, amounts)
        return Reserved(tuple(amounts), tuple(before))
    taken = zip(accounts[: len(before)], amounts, strict=False)
    _book(connection, {account.key: (0, amount) for account, amount in taken})
    balances = tuple(_balance(connection, _LOCKED, account) for account in accounts)
    fitting = fit(balances) if fit else None
    if fitting is None:
        return balances
    for account, amount in zip(accounts, fitting, strict=True):
        if _take(connection, account, amount) is None:
            raise AssertionError(f"{amount} of {account.limit} does not fit a locked {balances}")
    _hold(connection, reservation, lease, accounts, fitting)
    return Reserved(tuple(fitting), balances)


def balances(connection: Connection, accounts: Sequence[Account]) -> tuple[Balance, ...]:
    """How much of the accounts is used."""
    return tuple(_balance(connection, _READ, account) for account in accounts)


def balances_in(connection: Connection, limit: Limit, at: datetime) -> Mapping[str, Balance]:
    """How much of a limit is used in the period of `at`, by owner."""
    start = limit.account(limit.subject, at).start
    chosen = (ACCOUNT.c.limit_id == limit.id) & (ACCOUNT.c.start == start)
    rows = connection.execute(sa.select(ACCOUNT).where(chosen).order_by(ACCOUNT.c.owner))
    return {row.owner: Balance(row.spent, row.reserved) for row in rows}


def _take(connection: Connection, account: Account, amount: int) -> Any:
    values = _values(account.key) | {"more": amount, "most": account.limit.amount}
    row = connection.execute(_TAKE, values).first()
    if row is None:
        # If another transaction creates the account now, this one waits for its end.
        _create(connection, account.key)
        row = connection.execute(_TAKE, values).first()
    return row


def _create(connection: Connection, key: tuple[int, str, str]) -> None:
    """Create an account if there is none."""
    limit, owner, start = key
    row = {"limit_id": limit, "owner": owner, "start": start, "spent": 0, "reserved": 0}
    statement = insert_into(connection, ACCOUNT).values(row).on_conflict_do_nothing()
    connection.execute(statement)


def _hold(
    connection: Connection,
    reservation: str,
    lease: str,
    accounts: Sequence[Account],
    amounts: Sequence[int],
) -> None:
    rows = [
        {
            "id": reservation,
            "limit_id": account.limit.id,
            "owner": account.owner.name,
            "start": account.start,
            "amount": amount,
            "lease": lease,
        }
        for account, amount in zip(accounts, amounts, strict=True)
    ]
    connection.execute(_HOLD, rows)


def _balance(connection: Connection, statement: Any, account: Account) -> Balance:
    row = connection.execute(statement, _values(account.key)).first()
    return Balance() if row is None else Balance(row.spent, row.reserved)


def _book(connection: Connection, amounts: Mapping[tuple[int, str, str], tuple[int, int]]) -> None:
    """Add costs to accounts and give back what was reserved, in the order of their keys."""
    rows = [
        _values(key) | {"cost": cost, "less": less} for key, (cost, less) in sorted(amounts.items())
    ]
    if rows:
        connection.execute(_BOOK, rows)


def _values(key: tuple[int, str, str]) -> dict[str, Any]:
    return {"limit": key[0], "of": key[1], "since": key[2]}


# ── settling ─────────────────────────────────────────────────────────────────────────────────────


def settle(connection: Connection, settlements: Sequence[Settlement]) -> None:
    """Book what was used, and give back what was reserved for it. It can be repeated if it is not
    known whether it was done: what was booked before is not booked again."""
    charges = {one.id: one for one in settlements if one.charge is not None}
    costs: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    for id in _new_charges(connection, charges):
        for account in charges[id].accounts:
            costs[account.key] += _cost(charges[id].charge, account.limit)
    given_back = _sums(connection.execute(_SETTLED, {"ids": [one.id for one in settlements]}))
    for key in sorted(costs.keys() - given_back.keys()):
        _create(connection, key)  # spent without a reservation, or after it was released
    _book(
        connection, {key: (costs[key], given_back.get(key, 0)) for key in {**costs, **given_back}}
    )


def _new_charges(connection: Connection, charges: Mapping[str, Settlement]) -> Iterable[str]:
    """Record charges; the ids of those that were not recorded before."""
    rows = [
        one.charge._asdict() | {"id": id, "groups": "\n".join(one.charge.groups)}
        for id, one in charges.items()
        if one.charge is not None
    ]
    if not rows:
        return ()
    statement = insert_into(connection, CHARGE).on_conflict_do_nothing().returning(CHARGE.c.id)
    return connection.execute(statement, rows).scalars().all()


def _cost(charge: Charge | None, limit: Limit) -> int:
    if charge is None:
        return 0
    if limit.unit == "dollars":
        return charge.nano or 0
    return charge.tokens if limit.unit == "tokens" else 0


def _sums(rows: Iterable[Any]) -> Mapping[tuple[int, str, str], int]:
    sums: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    for row in rows:
        sums[row.limit_id, row.owner, row.start] += row.amount
    return sums


# ── gateways ─────────────────────────────────────────────────────────────────────────────────────


def renew(connection: Connection, lease: str) -> None:
    """Say that a gateway lives. Its reservations were released if it was thought dead."""
    row = {"id": lease, "expires": sa.literal(LEASE_SECONDS) + _now(connection)}
    statement = insert_into(connection, LEASE).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[LEASE.c.id], set_={"expires": statement.excluded.expires}
        )
    )


def release_dead(connection: Connection) -> Mapping[str, int]:
    """Release what dead gateways reserved: the number of amounts by gateway."""
    connection.execute(sa.delete(LEASE).where(LEASE.c.expires < _now(connection)))
    alive = sa.select(LEASE.c.id)
    lost = sa.select(RESERVATION.c.lease).where(RESERVATION.c.lease.not_in(alive)).distinct()
    return {row.lease: release(connection, row.lease) for row in connection.execute(lost).all()}


def release(connection: Connection, lease: str) -> int:
    """Release what a gateway reserved, and forget it; returns the number of amounts."""
    connection.execute(sa.delete(LEASE).where(LEASE.c.id == lease))
    rows = connection.execute(_ABANDONED, {"lost": lease}).all()
    _book(connection, {key: (0, amount) for key, amount in _sums(rows).items()})
    return len(rows)


def _now(connection: Connection) -> Any:
    if connection.dialect.name == "postgresql":
        return sa.cast(sa.func.extract("epoch", sa.func.now()), sa.BigInteger)
    return sa.cast(sa.func.strftime("%s", "now"), sa.BigInteger)


def forget(connection: Connection, oldest: datetime) -> None:
    """Delete charges, and accounts of periods that ended, from before a time."""
    connection.execute(sa.delete(CHARGE).where(CHARGE.c.at < int(oldest.timestamp())))
    ended = (ACCOUNT.c.start != "") & (ACCOUNT.c.start < oldest.date().isoformat())
    connection.execute(sa.delete(ACCOUNT).where(ended & (ACCOUNT.c.reserved == 0)))


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def all_limits(connection: Connection) -> Mapping[Subject, Sequence[Limit]]:
    """All limits, by whose they are."""
    found: defaultdict[Subject, list[Limit]] = defaultdict(list)
    for row in connection.execute(sa.select(LIMIT).order_by(LIMIT.c.id)):
        subject = Subject(row.kind, row.subject)
        found[subject].append(Limit(row.id, subject, row.unit, row.amount, row.period, row.zone))
    return found


def set_limit(connection: Connection, limit: Limit) -> None:
    """Add a limit, or change its amount and time zone. What was spent of it stays."""
    row = {
        "kind": limit.subject.kind,
        "subject": limit.subject.name,
        "unit": limit.unit,
        "amount": limit.amount,
        "period": limit.period,
        "zone": limit.zone,
    }
    statement = insert_into(connection, LIMIT).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[LIMIT.c.kind, LIMIT.c.subject, LIMIT.c.unit, LIMIT.c.period],
            set_={"amount": limit.amount, "zone": limit.zone},
        )
    )


def remove_limits(
    connection: Connection, subject: Subject, unit: str | None, period: str | None
) -> int:
    """Remove limits, with what was spent of them; returns how many. Requests that run go on."""
    condition = (LIMIT.c.kind == subject.kind) & (LIMIT.c.subject == subject.name)
    if unit is not None:
        condition &= LIMIT.c.unit == unit
    if period is not None:
        condition &= LIMIT.c.period == period
    ids = [
        row.id
        for row in connection.execute(sa.delete(LIMIT).where(condition).returning(LIMIT.c.id))
    ]
    connection.execute(sa.delete(ACCOUNT).where(ACCOUNT.c.limit_id.in_(ids)))
    return len(ids)
