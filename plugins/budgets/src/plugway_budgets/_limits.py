"""Limits of people, groups and keys, and what an attempt may use of them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, NamedTuple, get_args

from plugway_budgets._periods import PeriodName, period_at, zone_of
from plugway_prices import Price, dollars

Kind = Literal["person", "group", "key"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Unit = Literal["dollars", "tokens", "streams", "requests", "tokens_a_minute"]
BUDGETS: Final[tuple[Unit, ...]] = ("dollars", "tokens")
"""Units that are spent in a period."""
HELD: Final[tuple[Unit, ...]] = (*BUDGETS, "streams")
"""Units that are reserved in the database; the others are rates."""
EVERYBODY: Final = "*"
"""The name that stands for each person, group or key without a limit of its own."""
MOST: Final = 2**53
"""The largest amount: nano-dollars of nine million dollars, or tokens."""
_SUBJECT: Final = re.compile(r"(person|group|key):(\S.{0,199})")


class Subject(NamedTuple):
    """Whose limit it is."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def subject_of(text: str) -> Subject:
    """The subject that `text` names, such as `person:ann`. Raises `ValueError` with a fix."""
    found = _SUBJECT.fullmatch(text)
    if found is None or not text.isprintable():
        raise ValueError(
            f"{text!r} does not name whose budget it is: use `person:NAME`, `group:NAME` or "
            "`key:NAME`, with `*` as the name for each that has none of its own"
        )
    kind, name = found.groups()
    return Subject(next(one for one in KINDS if one == kind), name)


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit."""

    id: int
    subject: Subject
    unit: Unit
    amount: int
    """Nano-dollars, tokens, streams or requests."""
    period: PeriodName = "day"
    zone: str = "UTC"

    def account(self, owner: Subject, at: datetime) -> Account:
        """What a request at that time uses of it."""
        if self.unit not in BUDGETS:
            return Account(self, owner, "", None)
        period = period_at(self.period, at, zone_of(self.zone))
        return Account(self, owner, period.start.isoformat(), period.ends)

    @property
    def text(self) -> str:
        """The amount for people."""
        return self.text_of(self.amount)

    def text_of(self, amount: int) -> str:
        """An amount in this unit, for people."""
        return dollars(amount) if self.unit == "dollars" else f"{amount:,} {self.unit}"


class Account(NamedTuple):
    """The use of one limit by one owner in one period."""

    limit: Limit
    owner: Subject
    """The person, group or key; a limit for everybody has an account for each."""
    start: str
    """The first day of the period; empty for what is not a budget."""
    ends: datetime | None

    @property
    def key(self) -> tuple[int, str, str]:
        """Its key in the database, by which accounts are also locked in order."""
        return self.limit.id, self.owner.name, self.start


class Balance(NamedTuple):
    """How much of an account is used."""

    spent: int = 0
    reserved: int = 0

    def left(self, limit: Limit) -> int:
        """What can still be reserved."""
        return max(0, limit.amount - self.spent - self.reserved)


def limits_for(
    owners: Sequence[Subject], limits: Mapping[Subject, Sequence[Limit]], at: datetime
) -> tuple[Account, ...]:
    """The accounts of these owners in the order in which they are locked. A limit for everybody
    applies to whom has none of that unit and period."""
    found: dict[tuple[int, str, str], Account] = {}
    for owner in owners:
        own = limits.get(owner, ())
        taken = {(limit.unit, limit.period) for limit in own}
        general = limits.get(Subject(owner.kind, EVERYBODY), ())
        for limit in (*own, *(one for one in general if (one.unit, one.period) not in taken)):
            account = limit.account(owner, at)
            found[account.key] = account
    return tuple(found[key] for key in sorted(found))


@dataclass(frozen=True, slots=True)
class Demand:
    """The most that one attempt can use."""

    prompt: int
    """Tokens of the prompt, at most."""
    most: int
    """Tokens of the reply, at most (`max_tokens`)."""
    price: Price | None = None
    """None only if no dollars are limited."""
    long: bool = False
    """Whether cache entries may live for an hour or longer."""
    replies: int = 1
    """How many replies one request asks for."""

    def of(self, unit: Unit) -> int:
        """The most it can use of a unit; what is more than any limit is all the same."""
        if unit == "streams":
            return 1
        amount = self.prompt + self.most * self.replies
        if unit == "dollars":
            assert self.price is not None
            amount = self.price.worst_case(self.prompt, self.most * self.replies, long=self.long)
        return min(amount, 2 * MOST)

    def within(self, left: Sequence[tuple[Unit, int]], least: int) -> Demand | None:
        """The demand with a reply as long as what is left allows; None if that is shorter than
        `least`, or than the request asks for."""
        most = self.most
        for unit, amount in left:
            longest = self._longest(unit, amount)
            most = most if longest is None else min(most, longest)
        return replace(self, most=most) if most >= min(least, self.most) else None

    def _longest(self, unit: Unit, amount: int) -> int | None:
        """The longest reply that an amount pays; negative if not even the prompt, None if any."""
        if unit == "streams":
            return None if amount >= 1 else -1
        if unit == "tokens":
            return (amount - self.prompt) // self.replies
        assert self.price is not None
        longest = self.price.affordable(amount, self.prompt, long=self.long)
        return longest if longest is None or longest < 0 else longest // self.replies
