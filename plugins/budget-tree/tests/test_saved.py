"""With a database, a restart forgets nothing, and gateways see what others have spent."""

from __future__ import annotations

import subprocess
import sys

import anyio
import pytest
from spending import budgeted, message_of

from plugway.testing import build_plugin
from plugway_budget_tree import _saved
from plugway_budget_tree._saved import SCHEMA, Saved
from plugway_budget_tree._tree import Totals, Tree
from plugway_store import Store, StoreError, StoreOptions, StorePlugin, open_store

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _on_a_busy_machine(monkeypatch):
    monkeypatch.setattr(_saved, "READ_SECONDS", 1.95)


def stored(database, **options):
    store = build_plugin(StorePlugin, "store", **database)
    return budgeted(before=[store], **options)


async def until_saved(talk):
    await talk.settled()
    with anyio.fail_after(10):
        while talk.plugin.saved._changed or talk.plugin.saved._asked:
            await anyio.sleep(0.002)


async def test_a_restart_forgets_nothing(database):
    async with stored(database, default={"dollars": 1}) as talk:
        assert (await talk.send("@plugway budget 3 calls")).status_code == 200
        assert (await talk.send()).status_code == 200
        assert (await talk.send(agent="a")).status_code == 200
        await talk.settled()
        spent, tokens = talk.spent(), talk.tree.tokens
    async with stored(database, default={"dollars": 1}) as talk:
        assert (await talk.send()).status_code == 200
        await talk.settled()
        assert talk.spent() == pytest.approx(spent + talk.spender.dollars)
        assert talk.tree.tokens == tokens + talk.spender.tokens
        refused = await talk.send()
        assert "has made 3 of 3 calls" in message_of(refused)
        assert (await talk.send("@plugway budget off")).status_code == 200
    async with stored(database, default={"calls": 4}) as talk:
        assert (await talk.send()).status_code == 200
        assert (await talk.send()).status_code == 402


async def test_two_gateways_count_what_the_other_has_spent(database):
    options = {"default": {"calls": 3}}
    async with stored(database, **options) as one, stored(database, **options) as two:
        assert (await one.send()).status_code == 200
        await until_saved(one)
        assert (await two.send()).status_code == 200
        await until_saved(two)
        assert (await one.send()).status_code == 200
        await until_saved(one)
        assert (await two.send()).status_code == 402
        assert (await two.send("@plugway budget 4 calls")).status_code == 200
        await until_saved(two)
        assert (await one.send()).status_code == 200
        await until_saved(one)
        assert (await two.send()).status_code == 402


async def test_a_database_that_fails_refuses_requests_or_is_waited_for(database, monkeypatch):
    async def fails(*_):
        raise StoreError("the database", "is gone", "start it", "unreachable")

    monkeypatch.setattr(_saved, "RETRY_SECONDS", 0.01)
    async with stored(database, default={"calls": 9}) as talk:
        with monkeypatch.context() as broken:
            broken.setattr(Store, "read", fails)
            refused = await talk.send()
            assert refused.status_code == 503
            assert "is not available, and this gateway serves nothing" in message_of(refused)
            assert not talk.upstream.requests
        assert (await talk.send()).status_code == 200
    async with stored(database, default={"calls": 9}, if_unavailable="continue") as talk:
        with monkeypatch.context() as broken:
            broken.setattr(Store, "read", fails)
            assert (await talk.send()).status_code == 200
            await talk.settled()
            assert talk.tree.calls == 1
        await until_refreshed(talk)
        assert (await talk.send()).status_code == 200
        await until_saved(talk)
        await until_refreshed(talk, talk.tree)
        await talk.settled()
        assert talk.tree.calls == 3, "one of them before the restart"


async def test_what_could_not_be_written_is_written_later_and_counted_once(database, monkeypatch):
    monkeypatch.setattr(_saved, "RETRY_SECONDS", 0.01)
    write = Store.write
    failures = iter([True] * 3)

    async def sometimes(self, work, *more):
        result = await write(self, work, *more)
        if work is _saved._write and next(failures, False):  # done, and the answer was lost
            raise StoreError("the database", "is gone", "start it", "unreachable")
        return result

    async with stored(database, default={"calls": 9}) as talk:
        monkeypatch.setattr(Store, "write", sometimes)
        assert (await talk.send()).status_code == 200
        await until_saved(talk)
        monkeypatch.setattr(Store, "write", write)
        await until_refreshed(talk)
    async with stored(database, default={"calls": 9}) as talk:
        assert (await talk.send()).status_code == 200
        await talk.settled()
        assert talk.tree.calls == 2


async def until_refreshed(talk, tree=None):
    with anyio.fail_after(20):
        while (await talk.plugin.saved.refresh(tree or Tree("other", "owner"))) != "":
            await anyio.sleep(0.005)


async def test_a_database_that_fails_at_the_start_is_tried_again(database, monkeypatch):
    """Otherwise every request would be refused until the next restart."""
    monkeypatch.setattr(_saved, "RETRY_SECONDS", 0.01)
    execute, failures = Store.execute, [1, 2, 3]

    async def sometimes(self, *more):
        if failures:
            failures.pop()
            raise StoreError("the database", "is gone", "start it", "unreachable")
        return await execute(self, *more)

    monkeypatch.setattr(Store, "execute", sometimes)
    async with stored(database, default={"calls": 9}) as talk:
        with anyio.fail_after(10):
            while failures:
                await anyio.sleep(0.005)
        await until_refreshed(talk)
        assert (await talk.send()).status_code == 200


async def test_a_conversation_that_was_dropped_from_memory_is_read_again(database):
    async with stored(database, conversations=10, default={"calls": 2}) as talk:
        assert (await talk.send()).status_code == 200
        await until_saved(talk)
        for number in range(12):
            assert (await talk.send(session=f"other-{number}")).status_code == 200
        assert talk.tree is None
        assert (await talk.send()).status_code == 200
        assert (await talk.send()).status_code == 402


async def test_older_sums_never_replace_newer_ones(database):
    async with open_store(StoreOptions(**database)) as store:
        await store.migrate(SCHEMA)
        first, second = (Saved(store, None, gateway="one") for _ in range(2))
        newer, older = Tree("s", "owner"), Tree("s", "owner")
        newer.own, older.own = Totals(20, 20, 2, 0), Totals(10, 10, 1, 0)
        newer.known = older.known = True
        first.changed(newer)
        second.changed(older)
        await first.save()
        await second.save()
        found = Tree("s", "owner")
        assert await Saved(store, None, gateway="two").refresh(found) == ""
        assert found.others == Totals(20, 20, 2, 0)


async def test_conversations_that_nobody_uses_are_forgotten(database, monkeypatch):
    async with stored(database) as talk:
        await talk.send()
    monkeypatch.setattr(_saved, "KEPT_SECONDS", -10)
    async with stored(database) as talk:
        with anyio.fail_after(10):
            while True:
                found = Tree("s-1", "owner")
                await talk.plugin.saved.refresh(found)
                if found.calls == 0:
                    return
                await anyio.sleep(0.005)


def test_nothing_of_a_database_is_imported_without_one():
    code = "import sys, plugway_budget_tree; assert 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
