"""The history in the database of `store`: several gateways, and a database that is away."""

import logging
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing

import anyio
import asyncpg
import pytest
import sqlalchemy as sa
from going import item, logs_of
from keeping import found, ids, kept_in, query, stack

from plugway import NoOptions, Plugin, hookimpl
from plugway.http.snapshot import Snapshot
from plugway.testing import gateway, request_body
from plugway_dashboard._file import FileHistory, history_path
from plugway_dashboard._running import Book
from plugway_dashboard._writer import Writer
from plugway_store import StoreError, StoreOptions, open_store

pytestmark = pytest.mark.anyio
PHONE = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
AS_PHONE = {"authorization": "Bearer phone-token"}
WITHOUT_STORE = """
import anyio, sys
from plugway.testing import build_plugin, gateway
from plugway_dashboard import Dashboard
from plugway_echo import Echo

async def main():
    plugins = [build_plugin(Dashboard, "dashboard", history=True), build_plugin(Echo, "echo")]
    async with gateway(plugins) as running:
        await running.ask("x", model="echo/one")
        found = (await running.client.get("/dashboard/history")).json()
        assert len(found["exchanges"]) == 1

anyio.run(main)
assert not {"alembic", "plugway_store", "sqlalchemy"} & sys.modules.keys()
"""


class Fails(Plugin[NoOptions]):
    """Fails to start."""

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        raise RuntimeError("no")
        yield


def names(document):
    return sorted(one["model_asked"] for one in document["exchanges"])


@asynccontextmanager
async def two(database, **server):
    """Two gateways with one database."""
    async with (
        gateway(stack(database), port=8001, **server) as one,
        gateway(stack(database), port=8002, **server) as other,
    ):
        yield one, other


async def test_each_gateway_finds_what_any_has_served_and_its_page_begins_with_its_own(database):
    async with two(database) as (one, other):
        await one.ask("x", model="echo/one")
        await other.ask("x", model="echo/two")
        await found(one)  # writes what has ended
        assert names(await found(other)) == ["echo/one", "echo/two"]
        assert names(await found(one, "ECHO/two")) == ["echo/two"]
        (served,) = (await found(one, "gateway: :8002"))["exchanges"]
        assert served["gateway"].endswith(" http://127.0.0.1:8002")
        totals = await found(one, totals=1)
        assert totals["caller"][0]["requests"] == 2
        said = await logs_of(one, "--find", "echo")
        assert [line.split()[-1] for line in said.splitlines()] == [
            "http://127.0.0.1:8001",
            "http://127.0.0.1:8002",
        ]
        assert "gateway" not in await logs_of(one)
        plan = {"request": served["request_id"]}
        assert (await one.client.get("/dashboard/plan", params=plan)).status_code == 200
    async with two(database) as (one, other):
        for running, name in ((one, "echo/one"), (other, "echo/two")):
            assert names((await running.client.get("/dashboard/exchanges")).json()) == [name]


async def test_limited_callers_learn_nothing_about_the_gateways(database):
    async with two(database, tokens=PHONE) as (one, other):
        body = request_body(model="echo/theirs")
        for running in (one, other):
            await running.client.post("/v1/messages", json=body, headers=AS_PHONE)
            await found(running)
        everything = await found(one, headers=AS_PHONE)
        assert len(everything["exchanges"]) == 2
        page = await one.client.get("/dashboard/exchanges", headers=AS_PHONE)
        for document in (everything, page.json()):
            assert all("gateway" not in item for item in document["exchanges"])
        for word in ("gateway", "8002", "http"):
            assert (await found(one, word))["exchanges"]
            assert (await found(one, word, headers=AS_PHONE))["exchanges"] == []


async def test_plugins_with_other_names_do_not_mix(database, monkeypatch):
    monkeypatch.setattr("plugway_dashboard._history.PRUNE_SECONDS", 0)
    async with kept_in(database, "a", rows=1) as one, kept_in(database, "b") as other:
        same = item(0)
        await other.add([same, item(1)])
        await one.add([same])
        await one.add([item(3)])
        assert await ids(one) == ["req_3"]
        assert await ids(other) == ["req_1", "req_0"]
        assert [sum["requests"] for sum in (await other.totals(query()))["day"]] == [2]
        assert [sum["requests"] for sum in (await one.totals(query()))["day"]] == [1]
        assert [kept["request_id"] for kept in await other.newest(9)] == ["req_0", "req_1"]


async def test_what_ended_in_the_same_microsecond_elsewhere_is_on_the_same_page(database):
    async with kept_in(database) as one, kept_in(database, gateway="gw-2") as other:
        items = [item(number) for number in range(3)]
        twin = {**items[1], "request_id": "req_twin"}
        await one.add(items)
        await other.add([twin])
        first = await one.find(query(), None, 2)
        then = await one.find(query(), first.items[-1]["row"], 2)
    assert {one["request_id"] for one in first.items} == {"req_2", "req_1", "req_twin"}
    assert [one["request_id"] for one in then.items] == ["req_0"]
    assert (first.more, then.more) == (True, False)


def warnings_in(caplog):
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


async def test_gateways_that_remove_the_same_rows_at_once_do_not_fail(database, caplog):
    async with kept_in(database, rows=5) as one, kept_in(database, rows=5) as other:
        await one.add([item(f"{number}") for number in range(200)])
        async with anyio.create_task_group() as group:
            for history in (one, other) * 3:
                group.start_soon(history._prune)
        assert len(await ids(one)) == 5
    assert warnings_in(caplog) == []


async def test_a_file_from_before_stays_as_it_is_and_the_log_says_where_it_is(database, caplog):
    caplog.set_level(logging.INFO, "plugway.dashboard")
    path = history_path("dashboard")
    await FileHistory(path, days=30, rows=1000).add([item(1)])
    before = path.read_bytes()
    async with gateway(stack(database)) as running:
        await running.ask("x", model="echo/one")
        assert names(await found(running)) == ["echo/one"]
    assert path.read_bytes() == before
    (line,) = (one.getMessage() for one in caplog.records if "still in" in one.getMessage())
    assert str(path) in line
    assert database["url"] in line


async def test_what_ended_before_store_was_listed_is_shown_on_and_what_ends_then_is_stored(
    database,
):
    async with gateway([*stack(None)]) as running:
        await running.ask("x", model="echo/before")
        app = running.app
        fresh = Snapshot(app.snapshot.config, stack(database))
        fresh.gateway.predecessor = app.snapshot.gateway
        async with anyio.create_task_group() as group:
            await group.start(fresh.run)
            dashboard = fresh.plugins[0]
            dashboard.book.put_back([item(7)])
            await dashboard._save()
            assert [one["model_asked"] for one in dashboard.book.kept] == ["echo/before"]
            assert "req_7" in await ids(dashboard.history)
            fresh.close()


async def test_a_reload_that_cannot_open_the_database_leaves_the_file_in_use(tmp_path):
    broken = {"url": str(tmp_path / "file" / "store.db")}
    (tmp_path / "file").touch()
    async with gateway(stack(None)) as running:
        app = running.app
        for plugins in (stack(broken), [*stack(None, history=False), Fails(NoOptions())]):
            fresh = Snapshot(app.snapshot.config, plugins)
            fresh.gateway.predecessor = app.snapshot.gateway
            with pytest.raises(ExceptionGroup):
                async with anyio.create_task_group() as group:
                    await group.start(fresh.run)
            assert app.snapshot.plugins[0]._newest
            await running.ask("x", model="echo/on")
            assert set(names(await found(running))) == {"echo/on"}
        assert len((await found(running))["exchanges"]) == 2


async def test_the_default_stack_imports_no_database():
    done = await anyio.run_process([sys.executable, "-c", WITHOUT_STORE], stderr=subprocess.STDOUT)
    assert done.returncode == 0


async def test_no_history_makes_no_table(database):
    async with gateway(stack(database, history=False)) as running:
        await running.ask("x", model="echo/one")
    async with open_store(StoreOptions(**database)) as store:
        with pytest.raises(StoreError, match="dashboard_exchange"):
            await store.all(sa.text("select * from dashboard_exchange"))


# ── a database that is away ──────────────────────────────────────────────────────────────────────


async def test_a_database_that_is_killed_costs_no_request_and_gets_it_all_afterwards(
    postgres, caplog
):
    database = {**postgres.database(), "busy_seconds": 0.5}
    async with gateway(stack(database)) as running:
        await running.ask("x", model="echo/before")
        assert len((await found(running))["exchanges"]) == 1
        await anyio.to_thread.run_sync(postgres.kill)
        try:
            with anyio.fail_after(10):
                for _ in range(20):
                    await running.ask("x", model="echo/meanwhile")
            for _ in range(2):
                assert "cannot be read now" in (await found(running))["problem"]
            assert "cannot be read now" in (await found(running, totals=1))["problem"]
            assert await logs_of(running, "--find", "echo") == ""  # an error
            kept = (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
            assert len(kept) == 21
        finally:
            await anyio.to_thread.run_sync(postgres.start)
        with anyio.fail_after(20):
            while "problem" in (answer := await found(running)):
                await anyio.sleep(0.05)
        assert names(answer) == ["echo/before", *["echo/meanwhile"] * 20]
    lines = [r.getMessage() for r in caplog.records if "cannot use the history" in r.getMessage()]
    assert len(lines) == 1
    assert database["url"] in lines[0]


async def test_a_database_that_is_locked_gets_it_afterwards(tmp_path):
    path = tmp_path / "store.db"
    async with gateway(stack({"url": str(path), "busy_seconds": 0.05})) as running:
        await found(running)
        with closing(sqlite3.connect(path)) as other:
            other.execute("begin immediate")
            await running.ask("x", model="echo/one")
            assert (await found(running))["exchanges"] == []  # readers never wait
            other.rollback()
        with anyio.fail_after(10):
            while not (answer := await found(running))["exchanges"]:
                await anyio.sleep(0.05)
        assert names(answer) == ["echo/one"]


async def test_a_full_database_keeps_what_it_has_and_what_ends_stays_in_memory(tmp_path, caplog):
    async with kept_in({"url": str(tmp_path / "store.db")}) as history:
        await history.add([item(1)])
        store = history._store
        pages = await store.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
        await store.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar())
        assert not await history.add([item(f"{number}") for number in range(100, 200)])
        assert await ids(history) == ["req_1"]
    assert "disk is full" in caplog.text


async def test_a_text_that_the_encoding_has_no_place_for_costs_only_its_row(postgres, caplog):
    options = postgres.database()
    async with open_store(StoreOptions(**options)) as store:
        name = options["url"].rpartition("/")[2]

        def create(connection):
            text = f"CREATE DATABASE {name}_latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            connection.execute(sa.text(text))

        await store.read(create)
    latin = {**options, "url": f"{options['url']}_latin"}
    async with kept_in(latin) as history:
        assert await history.add([item(1), item(2, error="\N{RIGHTWARDS ARROW}"), item(3)])
        assert await history.add([item(4, error="\N{RIGHTWARDS ARROW}")])
        assert await ids(history) == ["req_3", "req_1"]
    lines = warnings_in(caplog)
    assert len(lines) == 2
    assert "request req_2 is not in the history" in lines[0]
    assert all("encoding UTF8" in line for line in lines)


async def test_what_is_taken_from_memory_is_put_back_if_whoever_asked_leaves(database):
    async with kept_in(database) as history:
        book, begun, add = Book(9), anyio.Event(), history.add
        book.keep_unsaved(True)
        book.put_back([item(1)])

        async def slow(items):
            begun.set()
            await anyio.sleep_forever()

        writer = Writer(history, lambda item: item)
        history.add = slow
        async with anyio.create_task_group() as group:
            group.start_soon(writer.save, book)
            await begun.wait()
            group.cancel_scope.cancel()
        assert len(book.unsaved) == 1
        history.add = add
        for _ in range(2):  # it may have been written nevertheless
            await writer.save(book)
            book.put_back([item(1)])
        assert await ids(history) == ["req_1"]


async def test_searches_of_a_database_that_hangs_fail_together(postgres):
    """Otherwise each would wait until those before it have failed."""
    database = {**postgres.database(), "busy_seconds": 0.5}
    other = await asyncpg.connect(database["url"], password=database["password"])
    try:
        async with gateway(stack(database)) as running:
            await found(running)
            await other.execute("begin; lock table dashboard_exchange")
            await running.ask("x", model="echo/one")
            began, answers = time.monotonic(), []

            async def search():
                answers.append(await found(running))

            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(search)
            assert time.monotonic() - began < 5
            assert all("problem" in answer for answer in answers)
            await other.execute("rollback")
            assert names(await found(running)) == ["echo/one"]
    finally:
        await other.close()


async def test_a_database_that_hangs_delays_neither_requests_nor_the_stop(postgres, caplog):
    database = {**postgres.database(), "busy_seconds": 20}
    other = await asyncpg.connect(database["url"], password=database["password"])
    try:
        async with gateway(stack(database)) as running:
            await found(running)
            await other.execute("begin; lock table dashboard_exchange")
            with anyio.fail_after(5):
                for _ in range(5):
                    await running.ask("x", model="echo/one")
            await anyio.sleep(1.5)
            began = time.monotonic()
        assert time.monotonic() - began < 4
    finally:
        await other.close()
    assert "could not be written to the history before the stop: 5" in caplog.text
