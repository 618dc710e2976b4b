"""Which model is unloaded for which other, and who waits."""

import random

import anyio
import pytest
from machine import GIB, Asking, Engine, Machine, running
from pydantic import ValidationError

from plugway import BackendUnavailable
from plugway_local_models import LoadedModel, MakesRoom, Memory
from plugway_memory import MemoryOptions, _arbiter
from plugway_memory._options import bytes_of, size_text

pytestmark = pytest.mark.anyio


# Before a load


async def test_what_fits_is_left_in_memory(machine):
    engine = Engine(machine, "e", {"a": 6, "b": 6})
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        await r.ask(engine, "b")
        assert set(engine.held) == {"a", "b"}
        assert not r.notes


@pytest.mark.parametrize("kind", [Engine, Asking])
async def test_an_idle_model_goes_before_one_is_loaded_that_does_not_fit_beside_it(machine, kind):
    first, second = kind(machine, "one", {"a": 10}), kind(machine, "two", {"b": 10})
    async with running(machine, first, second) as r:
        await r.ask(first, "a")
        machine.now += 40
        await r.ask(second, "b")
        assert not first.held
        report = await r.plugin.report()
    assert report.decisions[0].what == "unloaded `one/a` (10.0 GiB, idle for 40 s) for `two/b`"
    if kind is Engine:
        assert report.decisions[0].what in r.notes


async def test_the_least_recently_used_one_goes_and_no_other(machine):
    engine = Engine(machine, "e", {"a": 5, "b": 5, "c": 5, "d": 4})
    async with running(machine, engine) as r:
        for model in "abca":
            machine.now += 1
            await r.ask(engine, model)
        await r.ask(engine, "d")
        assert set(engine.held) == {"a", "c", "d"}


@pytest.mark.parametrize(
    ("order", "gone"), [("lru", "a"), ("smallest", "b"), ("largest", "c"), ("listed", "c")]
)
async def test_the_order_can_be_chosen(machine, order, gone):
    one = Engine(machine, "one", {"a": 5, "b": 3})
    two = Engine(machine, "two", {"c": 6, "d": 3})
    async with running(machine, one, two, order=order) as r:
        for engine, model in ((one, "a"), (one, "b"), (two, "c"), (two, "d")):
            machine.now += 1
            if model == "d":
                one.idle["a"] = 900
            await r.ask(engine, model)
        assert one.unloaded + two.unloaded == [gone]


async def test_only_as_many_go_as_are_needed(machine):
    engine = Engine(machine, "e", {"small": 2, "large": 12, "new": 11})
    async with running(machine, engine) as r:
        await r.ask(engine, "small")
        machine.now += 1
        await r.ask(engine, "large")
        await r.ask(engine, "new")
        assert engine.unloaded == ["large"], "unloading the older small one would not be enough"


async def test_a_busy_model_stays_and_the_load_waits_for_its_stream(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine) as r:
        reply = await r.open(engine, "a")
        async with anyio.create_task_group() as group:
            group.start_soon(r.ask, engine, "b")
            await anyio.wait_all_tasks_blocked()
            assert set(engine.held) == {"a"}
            await reply.close()
        assert set(engine.held) == {"b"}
    (waits,) = (note for note in r.notes if note.startswith("waits"))
    assert "10.0 GiB are needed, 6.0 GiB are free" in waits
    assert "busy or kept: `e/a`" in waits


async def test_a_model_with_requests_of_others_is_busy(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine, wait_seconds=0) as r:
        await r.ask(engine, "a")
        listed = engine.loaded

        async def loaded():
            return [LoadedModel(m.model, size=m.size, requests=1) for m in await listed()]

        engine.loaded = loaded
        with pytest.raises(BackendUnavailable):
            await r.ask(engine, "b")
        assert set(engine.held) == {"a"}


async def test_an_exchange_for_a_model_that_is_just_unloaded_waits_for_it(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        going, gone = anyio.Event(), anyio.Event()
        unload = engine.unload

        async def slowly(model):
            going.set()
            await gone.wait()
            return await unload(model)

        engine.unload = slowly
        async with anyio.create_task_group() as group:
            group.start_soon(r.ask, engine, "b")
            await going.wait()
            group.start_soon(r.ask, engine, "a")
            await anyio.wait_all_tasks_blocked()
            assert engine.busy == {"a": 0, "b": 0}
            gone.set()
        assert "waits: `e/a` is being unloaded" in r.notes
        assert engine.unloaded == ["a", "b"]


async def test_a_client_that_leaves_during_an_unload_leaves_no_half_unloaded_model(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        going, gone = anyio.Event(), anyio.Event()
        unload = engine.unload

        async def slowly(model):
            going.set()
            await gone.wait()
            return await unload(model)

        engine.unload = slowly
        async with anyio.create_task_group() as group:
            group.start_soon(r.ask, engine, "b")
            await going.wait()
            group.cancel_scope.cancel()
            gone.set()
        assert not engine.held
        await r.ask(engine, "b")


async def test_two_loads_at_once_do_not_both_think_that_they_fit(machine):
    engines = [Asking(machine, name, {"m": 9}) for name in ("one", "two")]
    async with running(machine, *engines) as r:
        async with anyio.create_task_group() as group:
            for engine in engines:
                group.start_soon(r.ask, engine, "m")
        assert machine.most <= machine.total
        assert sum(len(engine.unloaded) for engine in engines) == 1


async def test_two_requests_for_one_model_reserve_it_once(machine):
    engine = Asking(machine, "e", {"m": 9})
    async with running(machine, engine) as r:
        async with r.plugin.loading("e", "m", 9 * GIB, print):
            with anyio.fail_after(5):
                async with r.plugin.loading("e", "m", 9 * GIB, print):
                    pass
            assert r.arbiter.free([]) == 7 * GIB
        assert r.arbiter.free([]) == 16 * GIB


async def test_models_that_are_kept_are_never_unloaded(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 5, "c": 8})
    async with running(machine, engine, keep=("e/a",)) as r:
        await r.ask(engine, "a")
        await r.ask(engine, "b")
        with pytest.raises(BackendUnavailable) as caught:
            await r.ask(engine, "c")
        assert set(engine.held) == {"a", "b"}
    assert caught.value.permanent
    assert "8.0 GiB" in caught.value.message
    assert "10.0 GiB of models that stay leave 6.0 GiB" in caught.value.message


async def test_what_can_never_fit_is_refused_at_once_with_the_sum(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 15.5})
    async with running(machine, engine, reserve="1 GiB") as r:
        await r.ask(engine, "a")
        with pytest.raises(BackendUnavailable) as caught:
            await r.ask(engine, "b")
        assert set(engine.held) == {"a"}, "nothing goes for a model that does not fit anyway"
    assert caught.value.status == 503
    for part in ("15.5 GiB", "16.0 GiB", "1.0 GiB in reserve", "leave 15.0 GiB"):
        assert part in caught.value.message


async def test_after_the_wait_it_is_overloaded_and_says_why(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine, wait_seconds=60) as r:
        reply = await r.open(engine, "a")
        async with anyio.create_task_group() as group:
            group.start_soon(_expect_overload, r, engine)
            await anyio.wait_all_tasks_blocked()
            machine.now += 61
            r.arbiter._notify()
        await reply.close()
        assert not r.arbiter._running


async def _expect_overload(r, engine):
    with pytest.raises(BackendUnavailable) as caught:
        await r.ask(engine, "b")
    assert caught.value.status == 529
    assert caught.value.retry_after
    assert "no memory for `e/b` within 60 s" in caught.value.message
    assert "`e/a`" in caught.value.message


async def test_a_load_that_waited_long_enough_goes_before_new_requests_for_the_busy_model(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine) as r:
        reply = await r.open(engine, "a")
        async with anyio.create_task_group() as group:
            group.start_soon(r.ask, engine, "b")
            await anyio.wait_all_tasks_blocked()
            await r.ask(engine, "a")  # at first the model that is there goes on
            machine.now += 16
            group.start_soon(r.ask, engine, "a")
            await anyio.wait_all_tasks_blocked()
            assert engine.busy["a"] == 1
            await reply.close()
        assert engine.unloaded == ["a", "b"]
    assert "waits: it is the turn of `e/b`, which waited for memory" in r.notes


async def test_the_memory_of_others_is_counted(machine):
    engine = Engine(machine, "e", {"a": 6, "b": 6})
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        machine.eaten = 6
        await r.ask(engine, "b")
        assert engine.unloaded == ["a"]


async def test_weights_mapped_from_files_count_though_the_system_calls_them_available(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        machine.taken.clear()
        listed = engine.loaded

        async def loaded():
            return [LoadedModel(m.model, m.size, reclaimable=9 * GIB) for m in await listed()]

        engine.loaded = loaded
        assert r.arbiter.free(await r.arbiter.owners.all()) == 7 * GIB
        machine.taken["e", "a"] = 0
        await r.ask(engine, "b")
        assert engine.unloaded == ["a"]


async def test_a_narrower_limit_that_a_backend_knows_counts(machine):
    engine = Engine(machine, "e", {"a": 6, "b": 6})
    engine.memory = lambda: Memory(9 * GIB, 9 * GIB - sum(machine.taken.values()))
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        await r.ask(engine, "b")
        assert engine.unloaded == ["a"]


# What a backend can do wrong


async def test_a_server_that_reports_no_sizes_is_asked_to_unload_only_if_memory_is_short(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 4, "c": 1})
    engine.stated = False
    async with running(machine, engine, reserve="3 GiB") as r:
        await r.ask(engine, "a")
        await r.ask(engine, "b")
        assert not engine.unloaded
        machine.now += 1
        await r.ask(engine, "c")
        assert engine.unloaded == ["a"]
    assert "unloaded `e/a` (of unknown size, idle for 1 s) for `e/c`" in r.notes


@pytest.mark.parametrize("how", ["false", "error", "odd error"])
async def test_a_model_that_does_not_go_is_noted_and_another_one_goes(machine, how):
    bad, good = Engine(machine, "bad", {"a": 6}), Engine(machine, "good", {"b": 6, "c": 6})

    async def unload(model):
        if how == "false":
            return False
        raise BackendUnavailable("gone away") if how == "error" else KeyError("x")

    bad.unload = unload
    async with running(machine, bad, good) as r:
        await r.ask(bad, "a")
        machine.now += 1
        await r.ask(good, "b")
        await r.ask(good, "c")
        assert good.unloaded == ["b"]
    (failed,) = (note for note in r.notes if "could not be unloaded" in note)
    reason = {"false": "says that it is not loaded", "error": "gone away", "odd error": "KeyError"}
    assert failed.startswith("`bad/a` could not be unloaded for `good/c`")
    assert reason[how] in failed


async def test_a_model_that_says_it_went_and_did_not_is_tried_once(machine, monkeypatch):
    monkeypatch.setattr(_arbiter, "_LOOK_SECONDS", 0.001)
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    asked = []

    async def unload(model):
        asked.append(model)
        machine.now += 10
        return True

    engine.unload = unload
    async with running(machine, engine, wait_seconds=5) as r:
        await r.ask(engine, "a")
        with pytest.raises(BackendUnavailable, match="no memory"):
            await r.ask(engine, "b")
    assert asked == ["a"]


async def test_a_model_that_was_loaded_behind_our_back_is_seen_and_unloaded(machine):
    ours, theirs = Engine(machine, "ours", {"a": 10}), Engine(machine, "theirs", {"x": 10})
    async with running(machine, ours, theirs) as r:
        await theirs.load("x")
        await r.ask(ours, "a")
        assert theirs.unloaded == ["x"]


@pytest.mark.parametrize("how", ["hangs", "raises"])
async def test_a_backend_that_does_not_list_its_models_delays_no_other_and_loses_none(machine, how):
    bad, good = Engine(machine, "bad", {"a": 6}), Engine(machine, "good", {"b": 6, "c": 6})
    async with running(machine, bad, good) as r:
        r.arbiter.owners._seconds = 0.01
        await r.ask(bad, "a")
        calls = []

        async def loaded():
            calls.append(how)
            if how == "hangs":
                await anyio.sleep_forever()
            raise RuntimeError

        bad.loaded = loaded
        await r.ask(good, "b")
        await r.ask(good, "c")
        assert set(bad.held) == {"a"}, "whether it is busy is not known"
        assert good.unloaded == ["b"]
        if how == "hangs":
            assert len(calls) == 1, "it is not asked again for a while"


async def test_a_needed_size_that_is_not_told_does_not_stop_the_request(machine):
    engine = Engine(machine, "e", {"a": 6})

    async def needs(model):
        raise BackendUnavailable("no header")

    engine.needs = needs
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        assert set(engine.held) == {"a"}


# Many at once


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", [Engine, Asking])
async def test_200_alternating_requests_never_exceed_the_memory_and_never_fail(kind, seed):
    chance, machine = random.Random(seed), Machine(16)
    one = kind(machine, "one", {"a": 9, "b": 6})
    two = kind(machine, "two", {"c": 8})
    limiter = anyio.CapacityLimiter(6)
    served = []

    async def request(r, engine, model):
        async with limiter:
            reply = await r.open(engine, model)
            assert model in engine.held
            for _ in range(chance.randrange(8)):
                machine.now += chance.random() * 3
                await anyio.lowlevel.checkpoint()
                assert engine.held[model] == "loaded"
            await reply.close()
            served.append(model)

    async with running(machine, one, two, wait_seconds=3_600) as r:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(200):
                    group.start_soon(request, r, *((one, "a"), (one, "b"), (two, "c"))[number % 3])
        assert len(served) == 200
        assert machine.most <= machine.total
        assert not r.arbiter._running
        assert not r.arbiter._reserved


# What is shown


async def test_the_report_has_all_owners_with_what_the_gateway_knows(machine):
    one, two = Engine(machine, "one", {"a": 6}), Engine(machine, "two", {"b": 4})
    async with running(machine, one, two, reserve="10%") as r:
        reply = await r.open(one, "a")
        await r.ask(two, "b")
        machine.now += 7
        report = await r.plugin.report()
        await reply.close()
    assert isinstance(r.plugin, MakesRoom)
    rows = {name: (m.model, m.requests, m.idle_seconds) for name, m in report.models}
    assert rows == {"one": ("a", 1, 0.0), "two": ("b", 0, 7.0)}
    assert (report.total, report.available) == (16 * GIB, 6 * GIB)
    assert report.reserve == int(1.6 * GIB)


async def test_what_a_model_could_have_counts_all_that_may_go(machine):
    engine = Engine(machine, "e", {"a": 6, "b": 4, "c": 1})
    async with running(machine, engine, keep=("e/b",), reserve="1 GiB") as r:
        await r.ask(engine, "a")
        await r.ask(engine, "b")
        assert await r.plugin.obtainable("e", "c") == 11 * GIB


# Options


@pytest.mark.parametrize(
    ("text", "size"),
    [("2 GiB", 2 * GIB), ("500 MB", 500_000_000), ("1.5gib", 3 * GIB // 2), ("10%", 100)],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert bytes_of(text, 1_000) == size


@pytest.mark.parametrize("text", ["", "2", "GiB", "-1 GiB", "200%", "two GiB"])
def test_what_is_not_a_size_is_refused_when_the_configuration_is_read(text):
    with pytest.raises(ValidationError, match=r"such as `2 GiB`|at most 90%"):
        MemoryOptions(reserve=text)


def test_sizes_are_written_short():
    assert [size_text(size) for size in (3 * GIB, 5 << 20)] == ["3.0 GiB", "5 MiB"]
