"""Backends that report nonsense, clients that leave, a reload, and machines that cannot be read."""

import math

import anyio
import pytest
from machine import GIB, Asking, Engine, FakeGateway, Machine, running
from pydantic import ValidationError

from plugway import BackendUnavailable
from plugway_local_models import LoadedModel, Memory
from plugway_memory import MemoryOptions, MemoryPlugin, _arbiter
from plugway_memory._watch import Watch

pytestmark = pytest.mark.anyio


def nothing_left(arbiter):
    return not (
        arbiter._running
        or arbiter._reserved
        or arbiter._queue
        or arbiter._leaving
        or arbiter._waiting
    )


# What a backend reports


@pytest.mark.parametrize(
    "number", [-1, -(1 << 70), math.nan, math.inf, -math.inf, None, False, 0.5], ids=repr
)
async def test_numbers_that_cannot_be_count_as_unknown(machine, number):
    odd, good = Engine(machine, "odd", {"x": 1}), Engine(machine, "good", {"a": 10, "b": 10})

    async def loaded():
        kinds = dict.fromkeys(("size", "requests", "reclaimable", "context_tokens"), number)
        return [LoadedModel("x", idle_seconds=number, **kinds)] if odd.held else []

    async def needs(model):
        return number

    odd.loaded, odd.needs, odd.memory = loaded, needs, lambda: None
    async with running(machine, odd, good) as r:
        await r.ask(odd, "x")
        await r.ask(good, "a")
        await r.ask(good, "b")
        assert good.unloaded == ["a"]
        assert (await r.plugin.report()).available == 5 * GIB
        await r.watch.look()


@pytest.mark.parametrize("listed", [None, 7, [None], ["x"], [{"model": "x"}]], ids=repr)
async def test_a_list_that_is_none_loses_no_model(machine, listed):
    odd, good = Engine(machine, "odd", {"x": 4}), Engine(machine, "good", {"a": 6})
    async with running(machine, odd, good) as r:
        await r.ask(odd, "x")
        await r.plugin.report()

        async def loaded():
            return listed

        odd.loaded = loaded
        await r.ask(good, "a")
        assert [model.model for _, model in (await r.plugin.report()).models] == ["x", "a"]


async def test_a_huge_need_is_refused_with_the_sum(machine):
    engine = Engine(machine, "e", {"a": 1 << 60})
    async with running(machine, engine) as r:
        with pytest.raises(BackendUnavailable, match="can never fit") as caught:
            await r.ask(engine, "a")
    assert caught.value.permanent


async def test_a_limit_that_a_backend_cannot_read_stops_nothing(machine):
    engine = Engine(machine, "e", {"a": 6})
    async with running(machine, engine) as r:

        def memory():
            raise RuntimeError

        engine.memory = memory
        await r.ask(engine, "a")
        assert engine.held


class Liar(Engine):
    """Says that it unloads its models, and keeps them."""

    async def unload(self, model):
        self.unloaded.append(model)
        return True


async def test_a_backend_that_keeps_what_it_says_it_unloaded_is_noted_and_another_one_goes(machine):
    liar, good = Liar(machine, "liar", {"x": 6}), Engine(machine, "good", {"a": 6, "b": 6})
    async with running(machine, liar, good) as r:
        await r.ask(liar, "x")
        machine.now += 1
        await r.ask(good, "a")
        await r.ask(good, "b")
        assert good.unloaded == ["a"]
    assert any("`liar/x` could not be unloaded" in note for note in r.notes)


async def test_under_pressure_such_a_backend_shields_no_other_and_is_left_alone(machine):
    liar, good = Liar(machine, "liar", {"x": 6}), Engine(machine, "good", {"a": 4})
    async with running(machine, liar, good, reserve="2 GiB") as r:
        await r.ask(liar, "x")
        machine.now += 1
        await r.ask(good, "a")
        machine.eaten = 5
        await r.watch.look()
        assert good.unloaded == ["a"]
        machine.eaten = 9
        await r.watch.look()
        assert liar.unloaded == ["x"], "it is not asked again at once"


async def test_a_model_that_is_unloaded_elsewhere_during_the_eviction_makes_room_all_the_same(
    machine,
):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    unload = engine.unload

    async def unload_twice(model):
        await unload(model)
        return await unload(model)

    engine.unload = unload_twice
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        await r.ask(engine, "b")
        assert set(engine.held) == {"b"}


async def test_requests_that_end_meanwhile_do_not_shorten_the_wait_for_unloaded_memory(
    machine, monkeypatch
):
    engine = Engine(machine, "e", {"a": 6, "b": 6, "c": 6})
    unload, pauses = engine.unload, []

    async def unload_and_keep_the_memory_for_a_while(model):
        machine.eaten = 6
        return await unload(model)

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 5:
            machine.eaten = 0
        await anyio.lowlevel.checkpoint()

    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        machine.now += 1
        await r.ask(engine, "b")
        engine.unload, read = unload_and_keep_the_memory_for_a_while, machine.read

        def read_while_requests_end():
            r.arbiter._notify()
            return read()

        r.arbiter._read = read_while_requests_end
        with monkeypatch.context() as patch:
            patch.setattr(_arbiter.anyio, "sleep", sleep)
            await r.ask(engine, "c")
    assert engine.unloaded == ["a"]
    assert len(pauses) == 5


async def test_a_model_of_unknown_size_is_not_refused_because_others_use_the_memory(machine):
    engine = Engine(machine, "gpu", {"a": 0})
    engine.stated = False
    async with running(machine, engine, reserve="2 GiB", wait_seconds=0) as r:
        machine.eaten = 15
        await r.ask(engine, "a")
        assert engine.held


async def test_under_pressure_a_model_of_unknown_size_goes_only_if_no_other_is_idle(machine):
    gpu, engine = Engine(machine, "gpu", {"x": 0}), Engine(machine, "e", {"a": 4, "b": 4})
    gpu.stated = False
    async with running(machine, gpu, engine, reserve="2 GiB") as r:
        for owner, model in ((gpu, "x"), (engine, "a"), (engine, "b")):
            await r.ask(owner, model)
            machine.now += 1
        machine.eaten = 7
        await r.watch.look()
        assert (gpu.unloaded, engine.unloaded) == ([], ["a"])
        machine.eaten = 15
        await r.watch.look()
        assert (gpu.unloaded, engine.unloaded) == (["x"], ["a", "b"])


# Clients that leave


@pytest.mark.parametrize("kind", [Engine, Asking])
async def test_a_client_may_leave_at_any_step(kind):
    for steps in range(0, 60, 2):
        machine = Machine()
        engine = kind(machine, "e", {"a": 10, "b": 10})
        async with running(machine, engine) as r:
            await r.ask(engine, "a")
            async with anyio.create_task_group() as group:
                group.start_soon(r.ask, engine, "b")
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            for exchange in r.exchanges:
                r.plugin.finished(exchange)
            engine.busy = {"a": 0, "b": 0}
            engine.held = dict.fromkeys(engine.held, "loaded")  # a load goes on without its client
            assert nothing_left(r.arbiter), f"after {steps} steps"
            with anyio.fail_after(5):
                await r.ask(engine, "a")
                await r.ask(engine, "b")


async def test_those_who_wait_for_room_may_leave_in_any_order(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10, "c": 10})
    async with running(machine, engine) as r:
        reply = await r.open(engine, "a")
        scopes = []

        async def wait(model):
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await r.ask(engine, model)

        async with anyio.create_task_group() as group:
            for model in "bbcb":
                group.start_soon(wait, model)
                await anyio.wait_all_tasks_blocked()
            (key, since), machine.now = r.arbiter._waiting, machine.now + 3
            assert key == ("e", "b")
            for number in (1, 3):  # the same model, but not the first one
                scopes[number].cancel()
                await anyio.wait_all_tasks_blocked()
                assert r.arbiter._waiting == (key, since), "the first one keeps its place and time"
            scopes[0].cancel()
            await anyio.wait_all_tasks_blocked()
            r.arbiter._notify()
            await anyio.wait_all_tasks_blocked()
            assert r.arbiter._waiting[0] == ("e", "c")
            await reply.close()
        assert set(engine.held) == {"c"}
        assert nothing_left(r.arbiter)


# A reload


async def test_after_a_reload_the_streams_that_continue_keep_their_models(machine):
    engine = Engine(machine, "e", {"a": 10, "b": 10})
    async with running(machine, engine, wait_seconds=0) as r:
        reply = await r.open(engine, "a")
        plugin = MemoryPlugin(MemoryOptions(reserve="0 B", wait_seconds=0), name="memory")
        plugin.read = machine.read
        before = FakeGateway(r.plugin, engine)
        async with plugin.lifespan(FakeGateway(plugin, engine, predecessor=before)):
            with pytest.raises(BackendUnavailable, match="busy or kept: `e/a`"):
                async with plugin.loading("e", "b", 10 * GIB, print):
                    pass
            await reply.close()
            async with plugin.loading("e", "b", 10 * GIB, print):
                assert engine.unloaded == ["a"]
            assert nothing_left(plugin.arbiter)
        async with plugin.lifespan(FakeGateway(plugin, engine, predecessor=FakeGateway(engine))):
            assert not (await plugin.report()).decisions, "the plugin was not listed before"


# Machines and options


async def start(read, **options):
    plugin = MemoryPlugin(MemoryOptions(**options), name="memory")
    plugin.read = read
    async with plugin.lifespan(FakeGateway(plugin)):
        return await plugin.report()


async def test_on_a_machine_that_reports_no_memory_the_start_says_so():
    def read():
        raise OSError("the memory of this machine cannot be measured")

    with pytest.raises(ValueError, match="cannot be measured; remove `memory` from `plugins`"):
        await start(read)


async def test_a_reading_that_fails_later_leaves_the_last_one(machine):
    engine = Engine(machine, "e", {"a": 6})
    async with running(machine, engine) as r:

        def read():
            raise OSError("no /proc")

        r.arbiter._read = read
        await r.ask(engine, "a")
        assert (await r.plugin.report()).total == 16 * GIB


async def test_the_watch_goes_on_after_a_defect(machine, monkeypatch):
    looks = []

    async def look(watch):
        looks.append(watch)
        if len(looks) == 3:
            raise KeyboardInterrupt
        raise ZeroDivisionError

    monkeypatch.setattr(Watch, "look", look)
    monkeypatch.setattr("plugway_memory._watch.WATCH_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        await Watch(None, lambda: 0.0).run()


@pytest.mark.parametrize("reserve", ["16 GiB", "1 TB", "100 TiB"])
async def test_a_reserve_that_leaves_nothing_is_refused_at_the_start(reserve):
    with pytest.raises(ValueError, match=r"leaves nothing of 16\.0 GiB of memory: lower it"):
        await start(lambda: Memory(16 * GIB, 8 * GIB), reserve=reserve)


@pytest.mark.parametrize(
    ("reserve", "size"),
    [
        ("0 B", 0),
        ("0%", 0),
        ("0.0 GiB", 0),
        ("1 GB", 10**9),
        ("1 GiB", GIB),
        (" 90% ", 15461882265),
    ],
)
async def test_a_reserve_at_its_border_is_what_it_says(reserve, size):
    assert (await start(lambda: Memory(16 * GIB, 8 * GIB), reserve=reserve)).reserve == size


@pytest.mark.parametrize(
    "reserve",
    [
        "9" * 400 + " GiB",
        "1e3 GiB",
        "nan%",
        "inf GiB",
        "1,5 GiB",
        "90.1%",
        "%",
        "0x1 B",
        "0",
        1,
        -1,
        0.0,
        None,
        False,
        [],
    ],
)
def test_no_text_is_a_size_by_chance(reserve):
    with pytest.raises(ValidationError, match=r"such as `2 GiB`|at most 90%"):
        MemoryOptions(reserve=reserve)


@pytest.mark.parametrize("pattern", ["", "qwen3", "qwen3:8b", "demo"])
def test_a_pattern_that_can_match_no_model_is_refused(pattern):
    with pytest.raises(ValidationError, match="expected INSTANCE/MODEL"):
        MemoryOptions(keep=(pattern,))


async def test_a_pattern_for_a_backend_that_is_not_there_is_logged(machine, caplog):
    engine = Engine(machine, "e", {"a": 6})
    async with running(machine, engine, keep=("olama/*", "e/none", "*")):
        pass
    (warning,) = [r.getMessage() for r in caplog.records if "matches no backend" in r.getMessage()]
    assert "`olama/*` in `keep`" in warning
