"""Reserving and settling, on SQLite and on a real PostgreSQL."""

import random
from datetime import UTC, datetime

import anyio
import pytest
import sqlalchemy as sa

from plugway_budgets import _ledger as ledger
from plugway_budgets._ledger import Charge, Reserved, Settlement
from plugway_budgets._limits import Balance, Limit, Subject, Unit, limits_for
from plugway_budgets._schema import CHARGE, LEASE, RESERVATION, SCHEMA
from plugway_store import StoreOptions, open_store

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
ANN, DEV = Subject("person", "ann"), Subject("group", "dev")


@pytest.fixture
async def store(database):
    async with open_store(StoreOptions(**database, busy_seconds=30)) as store:
        await store.migrate(SCHEMA)
        yield store


def limit(subject=ANN, unit: Unit = "tokens", amount=100):
    return Limit(0, subject, unit, amount)


async def accounts(store, *limits, owners=(ANN, DEV)):
    for one in limits:
        await store.write(ledger.set_limit, one)
    return limits_for(owners, await store.read(ledger.all_limits), AT)


def charge(tokens, nano=None):
    return Charge(0, "ann", ("dev",), "k", "up/m", tokens, 0, 0, 0, nano, True)


async def reserve(store, id, of, *amounts, lease="gateway", fit=None):
    return await store.write(ledger.reserve, id, lease, of, amounts, fit)


async def test_200_concurrent_reservations_never_take_more_than_there_is(store):
    of = await accounts(store, limit(amount=1000))
    taken = []

    async def one(number):
        found = await reserve(store, f"r{number}", of, 10)
        taken.append(isinstance(found, Reserved))

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(one, number)
    assert sum(taken) == 100
    assert await store.read(ledger.balances, of) == (Balance(0, 1000),)


async def test_200_concurrent_requests_for_what_is_left_use_all_of_it(store):
    """Each lowers its own demand, down to three; what does not divide is left."""
    of = await accounts(store, limit(amount=1000))
    taken = []

    def fit(balances):
        left = 1000 - balances[0].spent - balances[0].reserved
        return (min(7, left),) if min(7, left) >= 3 else None

    async def one(number):
        found = await reserve(store, f"r{number}", of, 7, fit=fit)
        if isinstance(found, Reserved):
            taken.append(found.amounts[0])

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(one, number)
    assert sum(taken) == 1000
    assert sorted(taken)[:2] == [6, 7]


async def test_with_several_limits_all_are_reserved_or_none(store):
    of = await accounts(
        store, limit(amount=100), limit(DEV, amount=150), limit(unit="streams", amount=9)
    )
    assert isinstance(await reserve(store, "a", of, 80, 80, 1), Reserved)
    assert await reserve(store, "b", of, 20, 80, 1) == (
        Balance(0, 80),
        Balance(0, 80),
        Balance(0, 1),
    )
    assert await store.read(ledger.balances, of) == (Balance(0, 80), Balance(0, 80), Balance(0, 1))
    assert isinstance(await reserve(store, "b", of, 20, 70, 1), Reserved)


async def test_many_with_several_limits_do_not_block_each_other(store):
    limits = [limit(amount=400), limit(DEV, amount=600), limit(DEV, "dollars", 400)]
    of = await accounts(store, *limits)

    async def one(number):
        mine = of if number % 2 else of[1:]
        if isinstance(await reserve(store, f"r{number}", mine, *(3 for _ in mine)), Reserved):
            await store.write(ledger.settle, [Settlement(f"r{number}", mine, charge(2, 1))])

    async with anyio.create_task_group() as group:
        for number in range(120):
            group.start_soon(one, number)
    found = await store.read(ledger.balances, of)
    assert [one.reserved for one in found] == [0, 0, 0]
    done = (await store.first(sa.select(sa.func.count()).select_from(CHARGE)))[0]
    assert found[1].spent == 2 * done
    assert found[2].spent == done
    assert done == 120


async def test_a_settled_reservation_is_spent_and_the_rest_given_back(store):
    of = await accounts(store, limit(amount=100), limit(DEV, "dollars", 1000))
    await reserve(store, "a", of, 80, 500)
    await store.write(ledger.settle, [Settlement("a", of, charge(30, 123))])
    assert await store.read(ledger.balances, of) == (Balance(30, 0), Balance(123, 0))
    assert await store.all(sa.select(RESERVATION)) == []


async def test_settling_again_books_nothing_again(store):
    of = await accounts(store, limit(amount=100))
    await reserve(store, "a", of, 80)
    for _ in range(3):
        await store.write(ledger.settle, [Settlement("a", of, charge(30))])
    assert await store.read(ledger.balances, of) == (Balance(30, 0),)


async def test_a_failed_attempt_costs_nothing(store):
    of = await accounts(store, limit(amount=100))
    await reserve(store, "a", of, 80)
    await store.write(ledger.settle, [Settlement("a", of)])
    assert await store.read(ledger.balances, of) == (Balance(0, 0),)
    assert await store.all(sa.select(CHARGE)) == []


async def test_what_a_dead_gateway_reserved_is_released_once(store):
    of = await accounts(store, limit(amount=100))
    for lease in ("dead", "alive"):
        await store.write(ledger.renew, lease)
        await reserve(store, f"of {lease}", of, 40, lease=lease)
    await store.execute(sa.update(LEASE).where(LEASE.c.id == "dead").values(expires=1))
    released = []

    async def look():
        released.append(await store.write(ledger.release_dead))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(look)
    assert [one for one in released if one] == [{"dead": 1}]
    assert await store.read(ledger.balances, of) == (Balance(0, 40),)


async def test_a_gateway_that_was_only_slow_books_what_it_used(store):
    of = await accounts(store, limit(amount=100))
    await store.write(ledger.renew, "slow")
    await reserve(store, "a", of, 40, lease="slow")
    await store.execute(sa.update(LEASE).values(expires=1))
    await store.write(ledger.release_dead)
    await store.write(ledger.settle, [Settlement("a", of, charge(30))])
    assert await store.read(ledger.balances, of) == (Balance(30, 0),)
    await store.write(ledger.renew, "slow")
    assert await store.write(ledger.release_dead) == {}


async def test_a_reservation_after_the_lease_was_lost_is_released_too(store):
    of = await accounts(store, limit(amount=100))
    await reserve(store, "a", of, 40, lease="never renewed")
    assert await store.write(ledger.release_dead) == {"never renewed": 1}
    assert await store.read(ledger.balances, of) == (Balance(0, 0),)


async def test_a_limit_that_is_removed_while_it_is_spent_harms_nothing(store):
    of = await accounts(store, limit(DEV, amount=100), limit(amount=100))
    await reserve(store, "a", of, 40, 40)
    assert await store.write(ledger.remove_limits, DEV, None, None) == 1
    await store.write(ledger.settle, [Settlement("a", of, charge(30))])
    again = await accounts(store, limit(DEV, amount=100))
    assert {one.limit.id for one in again}.isdisjoint({of[0].limit.id}), "no id is used again"
    assert await store.read(ledger.balances, again) == (Balance(30, 0), Balance(0, 0))


async def test_changing_the_amount_keeps_what_was_spent(store):
    of = await accounts(store, limit(amount=100))
    await reserve(store, "a", of, 60)
    await store.write(ledger.settle, [Settlement("a", of, charge(60))])
    of = await accounts(store, limit(amount=70))
    assert await reserve(store, "b", of, 11) == (Balance(60, 0),)
    assert isinstance(await reserve(store, "c", of, 10), Reserved)


async def test_a_limit_for_everybody_is_one_of_each(store):
    everybody = Subject("person", "*")
    bob = Subject("person", "bob")
    await accounts(store, limit(everybody, amount=10), limit(bob, amount=50))
    found = await store.read(ledger.all_limits)
    ann, other, own = (limits_for([who], found, AT) for who in (ANN, Subject("person", "eve"), bob))
    assert isinstance(await reserve(store, "a", ann, 10), Reserved)
    assert isinstance(await reserve(store, "e", other, 10), Reserved)
    assert [one.limit.amount for one in own] == [50]


async def test_nothing_is_lost_or_counted_twice_in_any_order(store):
    """A random history of reservations, settlements, repeats and deaths, against plain sums."""
    random.seed(4)
    of = await accounts(store, limit(amount=10**6))
    open_, spent = {}, 0
    for step in range(150):
        what = random.random()
        if what < 0.5:
            amount = random.randrange(1, 100)
            lease = random.choice(("one", "two"))
            await store.write(ledger.renew, lease)
            await reserve(store, f"r{step}", of, amount, lease=lease)
            open_[f"r{step}"] = (amount, lease)
        elif what < 0.9 and open_:
            id = random.choice(list(open_))
            amount, _ = open_.pop(id)
            used = random.randrange(amount + 1)
            settlement = [Settlement(id, of, charge(used))]
            for _ in range(random.randrange(1, 3)):
                await store.write(ledger.settle, settlement)
            spent += used
        else:
            await store.execute(sa.update(LEASE).where(LEASE.c.id == "one").values(expires=1))
            await store.write(ledger.release_dead)
            open_ = {id: one for id, one in open_.items() if one[1] != "one"}
        reserved = sum(amount for amount, _ in open_.values())
        assert await store.read(ledger.balances, of) == (Balance(spent, reserved),)


async def test_what_is_old_is_forgotten_but_for_what_is_reserved(store):
    of = await accounts(store, limit(amount=100))
    await reserve(store, "a", of, 80)
    await store.write(ledger.settle, [Settlement("a", of, charge(30))])
    await reserve(store, "b", of, 20)
    later = AT.replace(year=2028)
    await store.write(ledger.forget, later)
    assert await store.all(sa.select(CHARGE)) == []
    assert await store.read(ledger.balances, of) == (Balance(30, 20),)
    await store.write(ledger.settle, [Settlement("b", of)])
    await store.write(ledger.forget, AT)
    assert await store.read(ledger.balances, of) == (Balance(30, 0),)
    await store.write(ledger.forget, later)
    assert await store.read(ledger.balances, of) == (Balance(0, 0),)
