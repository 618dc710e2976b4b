"""The database behind the plugins, on SQLite and on a real PostgreSQL."""

import asyncio
import logging
import threading

import anyio
import pytest
import sqlalchemy as sa
from notes import NOTES, SCHEMA

from plugway import Plugin, PlugwayError, hookimpl
from plugway.testing import PlainBackend, PluginContract, build_plugin, gateway
from plugway_store import StoreError, StoreOptions, StorePlugin, open_store, the_store
from plugway_store._engines import run_once

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(database):
    async with open_store(StoreOptions(**database, busy_seconds=30)) as store:
        await store.migrate(SCHEMA)
        yield store


class TestContract(PluginContract):
    plugin = StorePlugin


async def test_a_row_is_written_and_read(store):
    assert await store.execute(sa.insert(NOTES).values(owner="ann", count=1)) == 1
    row = await store.first(sa.select(NOTES).where(NOTES.c.owner == "ann"))
    assert (row.owner, row.count) == ("ann", 1)
    assert [row.owner for row in await store.all(sa.select(NOTES))] == ["ann"]
    assert await store.first(sa.select(NOTES).where(NOTES.c.owner == "bob")) is None


async def test_a_transaction_that_raises_changes_nothing(store):
    def work(connection):
        connection.execute(sa.insert(NOTES).values(owner="ann", count=1))
        raise KeyError

    with pytest.raises(KeyError):
        await store.write(work)
    assert await store.all(sa.select(NOTES)) == []


async def test_a_violated_constraint_is_the_callers(store):
    await store.execute(sa.insert(NOTES).values(owner="ann", count=1))
    with pytest.raises(sa.exc.IntegrityError):
        await store.execute(sa.insert(NOTES).values(owner="ann", count=1))


async def test_concurrent_conditional_updates_never_exceed_the_limit(store):
    await store.execute(sa.insert(NOTES).values(owner="ann", count=0))
    take = sa.update(NOTES).where(NOTES.c.count + 1 <= 100).values(count=NOTES.c.count + 1)
    taken = []

    async def one():
        taken.append(await store.execute(take))

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(one)
    assert sum(taken) == 100
    assert (await store.first(sa.select(NOTES.c.count)))[0] == 100


async def test_a_cancelled_write_is_whole_or_not_there(store):
    await store.execute(sa.insert(NOTES).values(owner="ann", count=0))

    def work(connection, scope):
        connection.execute(sa.update(NOTES).values(count=1))
        loop.call_soon_threadsafe(scope.cancel)
        connection.execute(sa.update(NOTES).values(count=2))

    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:
        await store.write(work, scope)
        await anyio.sleep_forever()
    assert (await store.first(sa.select(NOTES.c.count)))[0] == 2


async def test_several_gateways_that_start_together_migrate_once(database, caplog):
    caplog.set_level(logging.INFO, "plugway.store")

    async def start():
        async with open_store(StoreOptions(**database)) as store:
            await store.migrate(SCHEMA)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(start)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].endswith("`notes`: tables created, now at 0002 (Notes.; Notes have a colour.)")
    assert "of the test" not in lines[0], "the password"


def test_many_that_open_a_new_file_at_once_wait_for_each_other(tmp_path):
    problems = []

    def open_it(options):
        try:
            run_once(options, lambda connection: connection.execute(sa.text("SELECT 1")), 10)
        except Exception as problem:
            problems.append(problem)

    for number in range(40):
        options = StoreOptions(url=str(tmp_path / f"{number}.db"))
        threads = [threading.Thread(target=open_it, args=[options]) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []


async def test_an_older_database_is_updated_and_keeps_its_rows(database, tmp_path, caplog):
    old = tmp_path / "old"
    old.mkdir()
    first = SCHEMA.migrations / "0001_notes.py"
    (old / first.name).write_text(first.read_text())
    caplog.set_level(logging.INFO, "plugway.store")
    async with open_store(StoreOptions(**database)) as store:
        await store.migrate(type(SCHEMA)("notes", old))
        await store.execute(sa.text("INSERT INTO notes_note (owner, count) VALUES ('ann', 7)"))
    caplog.clear()
    async with open_store(StoreOptions(**database)) as store:
        await store.migrate(SCHEMA)
        row = await store.first(sa.select(NOTES))
    assert (row.owner, row.count, row.colour) == ("ann", 7, None)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("`notes`: updated from revision 0001, now at 0002 (Notes have a colour.)")


async def test_a_newer_database_is_refused_and_left_alone(store, database):
    await store.execute(sa.text("UPDATE notes_version SET version_num = '0009'"))
    with pytest.raises(StoreError, match="at revision 0009, newer than this version") as refused:
        await store.migrate(SCHEMA)
    assert refused.value.kind == "schema"
    assert (await store.first(sa.text("SELECT version_num FROM notes_version")))[0] == "0009"


async def test_a_migration_that_fails_changes_nothing(database, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in SCHEMA.migrations.glob("*.py"):
        (broken / path.name).write_text(path.read_text())
    (broken / "0003_fails.py").write_text(
        '"""Fails."""\nfrom alembic import op\nrevision = "0003"\ndown_revision = "0002"\n'
        'def upgrade():\n    op.execute("DROP TABLE no_such_table")\n'
    )
    async with open_store(StoreOptions(**database)) as store:
        with pytest.raises(StoreError, match=r"no.such.table"):
            await store.migrate(type(SCHEMA)("notes", broken))
        await store.migrate(SCHEMA)
        assert await store.all(sa.select(NOTES)) == []


async def test_a_plugin_finds_the_store_wherever_it_is_listed(database):
    class Notes(Plugin):
        """Keeps notes."""

        @hookimpl
        def lifespan(self, gateway):
            return the_store(gateway).opened(SCHEMA)

    for order in ((0, 1), (1, 0)):
        plugins = [build_plugin(StorePlugin, "store", **database), Notes(None, name="notes")]
        async with gateway([plugins[i] for i in order] + [build_plugin(PlainBackend, "plain")]):
            pass


async def test_two_stores_are_refused(tmp_path, caplog):
    stores = [build_plugin(StorePlugin, name, url=str(tmp_path / f"{name}.db")) for name in "ab"]
    with pytest.raises(ExceptionGroup):
        async with gateway([*stores, build_plugin(PlainBackend, "plain")]):
            pass
    assert "`a` and `b` are both databases: list one of them" in caplog.text


async def test_without_a_store_the_message_says_what_to_add():
    async with gateway([build_plugin(PlainBackend, "plain")]) as running:
        with pytest.raises(PlugwayError, match="add `- use: store`"):
            the_store(running.app.snapshot.gateway)
