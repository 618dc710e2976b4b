"""Values that gateways share through one database, on SQLite and on a real PostgreSQL."""

import json
import logging
import time
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from plugway.testing import PlainBackend, build_plugin, gateway, postgresql_server
from plugway_endpoints import SharesTopics, topic_of
from plugway_store import StoreOptions, StorePlugin, open_store
from plugway_store import _topics as topics_module
from plugway_store import _values as values
from plugway_store._topics import Topics
from plugway_store._values import SCHEMA

pytestmark = pytest.mark.anyio
LOG = logging.getLogger("plugway.store")


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Gateways read ten times as often as they do."""
    monkeypatch.setattr(topics_module, "POLL_SECONDS", 0.05)


class Member:
    """A gateway that shares the topic `colours`, and what it has heard."""

    def __init__(self, topics, topic, heard):
        self.topics, self.topic, self.heard = topics, topic, heard

    def put(self, key, value, seconds=60.0):
        self.topic.put(key, value, seconds)

    async def knows(self, key, value):
        """Wait until it has heard of a value."""
        with anyio.fail_after(10):
            while self.heard.get(key, "nothing") != value:
                await self.topics.next_round()


@asynccontextmanager
async def member(database, name="one", backends=(("plain", "local"),)):
    heard = {}
    topics = Topics(LOG)

    def changed(key, value, seconds):
        if value == "unreadable":
            raise ValueError(value)
        heard[key] = value
        assert 0 < seconds <= 61

    options = StoreOptions(**database, busy_seconds=0.5)
    async with open_store(options) as store, anyio.create_task_group() as tasks:
        await store.migrate(SCHEMA)
        about = {"name": name, "backends": dict(backends)}
        tasks.start_soon(topics.run, store, about)
        async with topics.shared(store, "colours", changed) as topic:
            found = Member(topics, topic, heard)
            found.store = store
            yield found
        tasks.cancel_scope.cancel()


@pytest.fixture
async def two(database):
    async with member(database, "one") as one, member(database, "two") as other:
        yield one, other


async def test_what_one_gateway_puts_is_known_to_the_others(two):
    one, other = two
    one.put("ann", {"likes": "blue"})
    await other.knows("ann", {"likes": "blue"})
    other.put("ann", {"likes": "red"})
    await one.knows("ann", {"likes": "red"})
    one.put("ann", None)
    await other.knows("ann", None)


async def test_a_gateway_that_starts_later_knows_what_was_put_before(database, two):
    two[0].put("ann", "blue")
    two[0].put("bob", "red")
    assert await two[0].topic.written()
    async with member(database, "three") as third:
        assert third.heard == {"ann": "blue", "bob": "red"}


async def test_written_means_that_the_others_have_read_it(two):
    one, other = two
    with anyio.fail_after(10):
        while not one.topics.peers.others():
            await one.topics.next_round()
    for number in range(3):
        one.put("ann", number)
        assert await one.topic.written()
        assert other.heard["ann"] == number


async def test_a_gateway_that_is_alone_waits_for_nobody(database):
    async with member(database) as one:
        await one.topics.next_round()
        one.put("ann", "blue")
        assert await one.topic.written()
        assert not one.topics.peers.others()


async def test_what_has_expired_by_the_clock_of_the_database_is_gone(database, two):
    two[0].put("ann", "blue")
    two[0].put("bob", "red", seconds=30)
    assert await two[0].topic.written()
    sooner = sa.text("UPDATE store_value SET expires = expires - 40 WHERE topic = 'colours'")
    await two[0].store.execute(sooner)
    async with member(database, "three") as third:
        assert third.heard == {"ann": "blue"}


async def test_the_clock_of_a_gateway_does_not_matter(database, monkeypatch):
    now = time.time
    async with member(database, "one") as one:
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        one.put("ann", "blue", seconds=50)
        assert await one.topic.written()
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        async with member(database, "two") as other:
            assert other.heard == {"ann": "blue"}


async def put_by_somebody(one, value, *, seconds_ago, by="somebody"):
    """A value that a third gateway has written just now."""
    at = time.monotonic() - seconds_ago
    row = values.Row("colours", json.dumps("ann"), json.dumps(value), by, 60.0, at)
    await one.store.write(values.write, [row])


async def test_an_older_value_that_is_written_later_replaces_no_newer_one(two):
    """As by a gateway that could not reach the database for a minute."""
    one, other = two
    one.put("ann", "newer")
    await other.knows("ann", "newer")
    await put_by_somebody(one, "older", seconds_ago=30)
    one.put("bob", "later")
    await other.knows("bob", "later")
    assert other.heard["ann"] == "newer"
    assert [row.value for row in await one.store.read(values.values_of, "colours")] == [
        '"newer"',
        '"later"',
    ]
    await put_by_somebody(one, "newest", seconds_ago=0)
    await other.knows("ann", "newest")


async def test_a_gateway_whose_value_is_too_old_has_what_the_others_have(two):
    """Also if it heard of that before, as when the database's clock was put back meanwhile."""
    one, other = two
    other.put("ann", "newer")
    await one.knows("ann", "newer")
    one.heard["ann"] = "its own"
    await put_by_somebody(one, "its own", seconds_ago=30, by=one.topics.gateway)
    await one.knows("ann", "newer")


async def test_a_value_that_waits_gives_way_to_a_newer_one(two):
    one, other = two
    assert await one.topic.written()
    one.topic.waiting[json.dumps("ann")] = topics_module._Put(
        '"older"', time.monotonic() - 30, time.monotonic() + 30
    )
    await put_by_somebody(other, "newer", seconds_ago=0)
    one.topics.wake()
    await one.knows("ann", "newer")
    assert not one.topic.waiting
    await one.topics.next_round()
    assert [row.value for row in await one.store.read(values.values_of, "colours")] == ['"newer"']


async def test_a_value_that_waits_is_kept_if_it_is_newer(two):
    one, other = two
    await put_by_somebody(other, "older", seconds_ago=30)
    one.put("ann", "newer")
    await other.knows("ann", "newer")
    assert one.heard.get("ann") in (None, "older")


async def test_a_gateways_own_values_are_written_in_their_order(two):
    """Also if its earlier one took long to be written."""
    one, other = two
    await put_by_somebody(one, "first", seconds_ago=0, by=one.topics.gateway)
    await put_by_somebody(one, "second", seconds_ago=2, by=one.topics.gateway)
    await other.knows("ann", "second")


@pytest.mark.parametrize("asks", ["julianday", "clock_timestamp"])
async def test_a_change_of_what_another_has_put_holds_also_if_its_gateway_stalls(two, asks):
    """While it writes, as a busy machine does."""
    one, other = two

    def stall(_connection, _cursor, statement, *_):
        if asks in statement:
            time.sleep(0.3)  # noqa: TID251 - it stalls

    def write_slowly(connection, rows):
        sa.event.listen(connection, "after_cursor_execute", stall)
        values.write(connection, rows)

    one.put("ann", "before")
    await other.knows("ann", "before")
    at = time.monotonic()
    row = values.Row("colours", json.dumps("ann"), '"after"', other.topics.gateway, 60.0, at)
    await other.store.write(write_slowly, [row])
    await one.knows("ann", "after")


async def test_a_clock_of_the_database_that_is_put_back_blocks_no_value(two):
    one, other = two
    one.put("ann", "before")
    await other.knows("ann", "before")
    later = "UPDATE store_value SET written = written + 3600 WHERE topic = 'colours'"
    await one.store.execute(sa.text(later))
    other.put("ann", "after")
    await one.knows("ann", "after")


async def test_a_value_that_cannot_be_read_is_ignored_and_reported(two, caplog):
    one, other = two
    one.put("ann", "unreadable")
    one.put("bob", "red")
    await other.knows("bob", "red")
    assert "a value of `colours` is ignored, because it cannot be read" in caplog.text
    assert "ann" not in other.heard


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000 + "]" * 100_000, "1e999", "{", "[]"],
    ids=["deep", "endless", "cut", "list"],
)
async def test_a_value_written_by_hand_ends_nothing_and_is_reported_once(two, caplog, text):
    one, other = two
    for topic, name in (("colours", "ann"), ("colours", "eve"), ("gateways", "x")):
        row = values.Row(topic, json.dumps(name), text, "somebody", 60.0, time.monotonic())
        await one.store.write(values.write, [row])
    one.put("bob", "red")
    await other.knows("bob", "red")
    assert caplog.text.count("a value of `colours` is ignored") <= 2  # each gateway, once
    assert caplog.text.count("a value of `gateways` is ignored") <= 2


async def test_a_table_that_somebody_emptied_is_filled_again(two):
    one, other = two
    one.put("bob", "red")
    await other.knows("bob", "red")
    for table in ("store_value", "store_change"):
        await one.store.execute(sa.text(f"DELETE FROM {table}"))
    one.put("bob", "blue")
    await other.knows("bob", "blue")


@pytest.mark.parametrize("key", ["", "a\nb", "nul \0", "half \ud800", "ü" * 150], ids=ascii)
async def test_any_name_is_a_key(two, key):
    one, other = two
    one.put(key, {"also": key})
    await other.knows(key, {"also": key})


async def test_a_key_without_end_is_not_shared_and_harms_nothing(two):
    one, other = two
    one.put("x" * 100_000, "blue")
    one.put("bob", "red")
    await other.knows("bob", "red")
    assert len(other.heard) == 1


async def test_changes_of_all_gateways_at_once_end_alike_everywhere(database):
    async with (
        member(database, "one") as one,
        member(database, "two") as two,
        member(database, "three") as three,
    ):
        members = (one, two, three)
        for number in range(200):
            for which, each in enumerate(members):
                each.put(f"key {number % 20}", [number, which])
            if number % 20 == 0:
                await anyio.lowlevel.checkpoint()
        with anyio.fail_after(20):
            while any(each.topic.waiting for each in members):
                await one.topics.next_round()
        for each in members:
            await each.topics.next_round()
            await each.topics.next_round()
        rows = await one.store.read(values.values_of, "colours")
        stored = {row.key: row.value for row in rows}
        assert len(stored) == 20
        for each in members:
            for key, value in each.heard.items():
                row = next(row for row in rows if row.key == json.dumps(key))
                if row.gateway != each.topics.gateway:
                    assert value == json.loads(row.value)


async def test_the_oldest_values_go_first(two, monkeypatch):
    one, _ = two
    assert await one.topic.written()
    for number in range(8):
        one.put(f"key {number}", number)
        assert await one.topic.written()
    monkeypatch.setattr(values, "MAX_VALUES", 3)
    await one.store.write(values.prune, ["colours"])
    rows = await one.store.read(values.values_of, "colours")
    assert [row.value for row in rows] == ["5", "6", "7"]


async def test_all_values_of_a_copy_that_was_restored_are_news(two):
    one, other = two
    for number in range(3):
        one.put("ann", number)
        assert await one.topic.written()
    await other.knows("ann", 2)
    older = sa.text("UPDATE store_value SET value = '\"old\"', changed = 1 WHERE topic = 'colours'")
    await one.store.execute(older)
    await one.store.execute(sa.text("UPDATE store_change SET number = 1"))
    await other.knows("ann", "old")


async def test_gateways_that_are_configured_differently_say_so_once(database, caplog):
    async with (
        member(database, "left:1", [("cloud", "anthropic"), ("local", "local")]) as one,
        member(database, "right:2", [("cloud", "openai"), ("extra", "local")]) as other,
    ):
        with anyio.fail_after(10):
            while not (one.topics.peers.others() and other.topics.peers.others()):
                await one.topics.next_round()
        other.topics._announce_at = 0
        other.topics.wake()
        await other.topics.next_round()
        await one.topics.next_round()
        await one.topics.next_round()
    warned = [r.getMessage() for r in caplog.records if "another configuration" in r.getMessage()]
    (about_right,) = [text for text in warned if "right:2" in text]
    assert "it lacks `local`; only it has `extra`; other zones: `cloud`" in about_right


async def test_a_database_that_goes_away_delays_values_and_stops_nobody(caplog, monkeypatch):
    monkeypatch.setattr(topics_module, "RETRY_SECONDS", 0.1)
    with postgresql_server() as server:
        database = server.database()
        async with member(database, "one") as one, member(database, "two") as other:
            one.put("ann", "blue")
            await other.knows("ann", "blue")
            server.kill()
            one.put("ann", "red")
            one.put("gone", "soon", seconds=0.01)
            assert not await one.topic.written()
            for _ in range(3):
                await one.topics.next_round()
            assert not await one.topic.written()
            await anyio.to_thread.run_sync(server.start)
            await other.knows("ann", "red")
            assert "gone" not in other.heard
            with anyio.fail_after(10):
                while one.topics.problem or other.topics.problem:
                    await one.topics.next_round()
    said = [record.getMessage() for record in caplog.records]
    assert sum("nothing is shared with other gateways until" in text for text in said) == 2
    assert sum("shared with other gateways again" in text for text in said) == 2


async def test_plugins_find_the_topics_of_the_gateway(database):
    plugin = build_plugin(StorePlugin, "store", **database)
    assert isinstance(plugin, SharesTopics)
    heard = {}
    async with gateway([plugin, build_plugin(PlainBackend, "plain")]) as running:
        inner = running.app.snapshot.gateway
        async with topic_of(inner, "colours", lambda *said: heard.update([said[:2]])) as topic:
            topic.put("ann", "blue", 60)
            assert await topic.written()
        async with topic_of(inner, "colours", lambda *said: heard.update([said[:2]])):
            assert heard == {"ann": "blue"}


async def test_without_a_database_there_is_no_topic():
    async with (
        gateway([build_plugin(PlainBackend, "plain")]) as running,
        topic_of(running.app.snapshot.gateway, "colours", print) as topic,
    ):
        assert topic is None
