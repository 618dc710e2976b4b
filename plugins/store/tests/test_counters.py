"""Rates, counted in memory and in a real Redis."""

import anyio
import pytest

from plugway.testing import PlainBackend, build_plugin, gateway
from plugway_store import Rate, StoreError, StoreOptions, StorePlugin, open_store

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "redis"])
def options(request, tmp_path):
    more = {} if request.param == "memory" else request.getfixturevalue("redis").options
    return StoreOptions(url=str(tmp_path / "store.db"), **more)


@pytest.fixture
async def counters(options):
    async with open_store(options) as store:
        yield store.counters


async def test_concurrent_callers_never_take_more_than_the_rate(counters):
    taken = []

    async def take():
        taken.append(await counters.take(Rate(100), "person", "ann"))

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(take)
    assert sum(taken) == 100


async def test_a_cost_is_taken_whole_or_not_at_all(counters):
    rate = Rate(1000)
    assert await counters.take(rate, "tokens", cost=900)
    assert not await counters.take(rate, "tokens", cost=101)
    assert (await counters.left(rate, "tokens"))[0] == 100
    assert await counters.take(rate, "tokens", cost=100)
    assert not await counters.take(rate, "tokens", cost=1)
    assert not await counters.take(rate, "others", cost=1001)


async def test_names_are_counted_apart(counters):
    rate = Rate(1)
    names = [
        ("person", "ann"),
        ("person", "bob"),
        ("group", "ann"),
        ("key", "ann"),
        ("person/ann",),
    ]
    assert [await counters.take(rate, *name) for name in names] == [True] * len(names)
    assert [await counters.take(rate, *name) for name in names] == [False] * len(names)


async def test_what_is_left_and_when_the_window_ends_is_known(counters):
    rate = Rate(10, seconds=3600)
    await counters.take(rate, "x", cost=4)
    left, ends = await counters.left(rate, "x")
    assert left == 6
    assert ends > 0
    await counters.clear(rate, "x")
    assert (await counters.left(rate, "x"))[0] == 10


async def test_a_window_slides(counters):
    rate = Rate(2, seconds=1)
    assert await counters.take(rate, "x", cost=2)
    with anyio.fail_after(10):
        while not await counters.take(rate, "x"):
            await anyio.sleep(0.05)


@pytest.mark.parametrize("wrong", [(0, 60), (1, 0), (-1, 60)])
def test_a_rate_is_at_least_one(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        Rate(*wrong)


async def test_gateways_with_one_redis_count_together(redis, tmp_path):
    options = StoreOptions(url=str(tmp_path / "store.db"), **redis.options)
    async with open_store(options) as one, open_store(options) as other:
        assert one.counters.shared
        taken = [await each.counters.take(Rate(3), "ann") for each in (one, other) * 3]
    assert sum(taken) == 3


async def test_redis_that_is_killed_is_named_and_used_again_when_it_is_back(redis, tmp_path):
    options = StoreOptions(url=str(tmp_path / "store.db"), **redis.options)
    async with open_store(options) as store:
        assert await store.counters.take(Rate(3), "ann")
        redis.kill()
        try:
            with pytest.raises(StoreError, match=f"redis at 127.0.0.1:{redis.port}: ") as error:
                await store.counters.take(Rate(3), "ann")
        finally:
            redis.start()
        assert error.value.kind == "unreachable"
        assert "check that Redis runs" in str(error.value)
        assert await store.counters.take(Rate(3), "ann")


async def test_a_wrong_redis_password_stops_the_start_and_is_not_shown(redis, tmp_path):
    wrong = {**redis.options, "redis_password": "wrong-1f2e"}
    with pytest.raises(StoreError, match="redis_password") as error:
        async with open_store(StoreOptions(url=str(tmp_path / "store.db"), **wrong)):
            pass
    assert "wrong-1f2e" not in str(error.value)


async def test_counters_in_memory_go_on_after_a_reload(tmp_path):
    def store():
        return build_plugin(StorePlugin, "store", url=str(tmp_path / "store.db"))

    from plugway.http.snapshot import Snapshot

    async with gateway([store(), build_plugin(PlainBackend, "plain")]) as running:
        app = running.app
        first = app.snapshot.plugins[0]._counters
        assert await first.take(Rate(1), "ann")
        fresh = Snapshot(app.snapshot.config, [store(), build_plugin(PlainBackend, "plain")])
        fresh.gateway.predecessor = app.snapshot.gateway
        async with anyio.create_task_group() as group:
            await group.start(fresh.run)
            assert not await fresh.plugins[0]._counters.take(Rate(1), "ann")
            fresh.close()
