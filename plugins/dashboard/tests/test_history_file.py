"""The history in a file of its own: whom it belongs to, and what a file can suffer."""

import logging
import sqlite3
import stat
from contextlib import closing

import anyio
import pytest
from going import item, logs_of
from keeping import found, ids, stack

from plugway.testing import ScriptedUpstream, anthropic_stream, build_plugin, gateway, sse
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard._file import FileHistory, history_path

pytestmark = pytest.mark.anyio


def kept_at(path, **options):
    return FileHistory(path, **{"days": 30, "rows": 1000, **options})


async def test_it_is_off_unless_it_is_wanted():
    async with gateway(stack(None, history=False)) as running:
        await running.ask("x")
        answer = await running.client.get("/dashboard/history")
        document = (await running.client.get("/dashboard/exchanges")).json()
    assert answer.status_code == 404
    assert "set `history: true` in the options of `dashboard`" in answer.text
    assert document["history_days"] is None
    assert not history_path("dashboard").parent.exists()


async def test_the_file_is_the_users_alone_and_has_no_content():
    async with ScriptedUpstream(otherwise=sse(anthropic_stream("a secret answer"))) as upstream:
        cloud = build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url)
        async with gateway([*stack(None), cloud]) as running:
            await running.ask("a secret question", model="cloud/m", system="a secret system")
            assert len((await found(running))["exchanges"]) == 1
    path = history_path("dashboard")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert b"secret" not in path.read_bytes()
    assert [one.name for one in path.parent.iterdir()] == ["dashboard.db"]


async def test_what_is_removed_cannot_be_read_from_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("plugway_dashboard._history.PRUNE_SECONDS", 0)
    history = kept_at(tmp_path / "h.db", rows=1)
    await history.add([item(1, error="an old failure")])
    await history.add([item(2)])
    assert b"an old failure" not in history.path.read_bytes()


async def test_a_corrupt_file_is_moved_aside_and_a_new_one_begun(caplog):
    path = history_path("dashboard")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database, but long enough to be read as one" * 100)
    async with gateway(stack(None)) as running:
        await running.ask("x", model="echo/one")
        assert len((await found(running))["exchanges"]) == 1
    assert path.with_suffix(".broken").exists()
    (warning,) = (one for one in caplog.records if one.levelname == "WARNING")
    assert "is corrupt" in warning.getMessage()


@pytest.mark.parametrize("damaged", [b"no JSON", b"", 7])
async def test_data_of_another_kind_costs_only_its_row(tmp_path, damaged):
    history = kept_at(tmp_path / "h.db")
    await history.add([item(1), item(2)])
    with closing(sqlite3.connect(history.path)) as db, db:
        last = "number = (select max(number) from exchanges)"
        db.execute(f"update exchanges set data = ? where {last}", (damaged,))
    assert await ids(history) == ["req_1"]


async def test_a_file_that_an_earlier_version_wrote_is_read_on():
    """Its data is a blob."""
    path = history_path("dashboard")
    await kept_at(path).add([item(1), item(2)])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("update exchanges set data = cast(data as blob)")
        assert db.execute("select distinct typeof(data) from exchanges").fetchall() == [("blob",)]
    async with gateway(stack(None)) as running:
        kept = (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
        assert [one["request_id"] for one in kept] == ["req_1", "req_2"]
        assert len((await found(running, "large"))["exchanges"]) == 2


async def test_a_file_of_another_version_is_named_and_left_alone(caplog):
    path = history_path("dashboard")
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("create table exchanges (number integer primary key, data text)")
    async with gateway(stack(None)) as running:
        await running.ask("x", model="echo/one")
        assert "cannot be read now" in (await found(running))["problem"]
        assert "cannot be read now" in (await found(running, totals=1))["problem"]
        said = await logs_of(running, "--find", "yesterday")
    assert "no such column" in caplog.text or "has no column" in caplog.text
    assert said == ""  # an error, not a search without results
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from exchanges").fetchone() == (0,)


async def test_two_gateways_may_share_a_file_and_it_may_be_deleted_meanwhile(tmp_path):
    one, two = (kept_at(tmp_path / "h.db", rows=500) for _ in range(2))
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(one.add, [item(f"a{number}")])
            group.start_soon(two.add, [item(f"b{number}")])
    assert len(await ids(one)) == len(set(await ids(two))) == 20
    one.path.unlink()
    assert await ids(one) == []
    assert await two.add([item(1)])
    assert await ids(one) == ["req_1"]


async def test_a_folder_that_cannot_be_used_costs_no_request_and_one_line_of_the_log(caplog):
    caplog.set_level(logging.WARNING, "plugway.dashboard")
    folder = history_path("dashboard").parent
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    async with gateway(stack(None)) as running:
        for _ in range(2):
            await running.ask("x", model="echo/one")
            assert (await found(running))["exchanges"] == []
        kept = (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
    assert len(kept) == 2
    lines = [one for one in caplog.records if "cannot use the history" in one.getMessage()]
    assert len(lines) == 1


async def test_what_could_not_be_written_is_written_later():
    """As when another gateway of the user holds the file."""
    path = history_path("dashboard")
    async with gateway(stack(None)) as running:
        assert (await found(running))["exchanges"] == []
        with closing(sqlite3.connect(path)) as other:
            other.execute("begin exclusive")
            await running.ask("x", model="echo/one")
            assert (await found(running))["exchanges"] == []
            other.rollback()
        (only,) = (await found(running))["exchanges"]
    assert only["model_asked"] == "echo/one"
