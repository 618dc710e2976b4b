"""What goes when memory runs short because of another program, and in which order."""

import pytest
from machine import GIB, Engine, running

from plugway import BackendRefused
from plugway_memory._pressure import Stall

pytestmark = pytest.mark.anyio


class Caching(Engine):
    """Keeps caches beside its models."""

    caches = 0

    async def free_caches(self):
        freed, self.caches = self.caches, 0
        self.machine.eaten -= freed
        return freed * GIB


async def test_with_memory_to_spare_nothing_goes(machine):
    engine = Caching(machine, "e", {"a": 6})
    engine.caches = 1
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        await r.watch.look()
        assert engine.caches
        assert engine.held
        assert not (await r.plugin.report()).decisions


async def test_caches_go_first_and_models_only_if_that_is_not_enough(machine):
    engine = Caching(machine, "e", {"a": 6, "b": 6})
    async with running(machine, engine, reserve="2 GiB") as r:
        await r.ask(engine, "a")
        machine.now += 5
        await r.ask(engine, "b")
        machine.eaten, engine.caches = 4, 2
        await r.watch.look()
        assert (engine.caches, set(engine.held)) == (0, {"a", "b"})
        machine.eaten = 4
        await r.watch.look()
        assert set(engine.held) == {"b"}, "the least recently used one, and no more than needed"
        decisions = [decision.what for decision in (await r.plugin.report()).decisions]
    why = "because 2.0 GiB of the reserve are in use"
    assert decisions[0] == f"freed 2.0 GiB of caches {why}"
    assert decisions[1].startswith("unloaded `e/a` (6.0 GiB, idle for 5 s) because")


async def test_a_busy_or_kept_model_stays_whatever_happens(machine):
    engine = Engine(machine, "e", {"busy": 5, "kept": 5, "idle": 4})
    async with running(machine, engine, keep=("e/kept",)) as r:
        reply = await r.open(engine, "busy")
        await r.ask(engine, "kept")
        await r.ask(engine, "idle")
        machine.eaten = 10
        await r.watch.look()
        assert set(engine.held) == {"busy", "kept"}
        assert r.watch.tight
        await reply.close()
        await r.watch.look()
        assert set(engine.held) == {"kept"}


async def test_a_load_that_takes_its_reserved_memory_is_no_shortage(machine):
    engine = Engine(machine, "e", {"a": 4})
    async with running(machine, engine) as r:
        await r.ask(engine, "a")
        async with r.plugin.loading("e", "b", 10 * GIB, print):
            machine.eaten = 10
            await r.watch.look()
        assert engine.held


async def test_waiting_for_memory_unloads_one_model_per_look(machine):
    engine = Engine(machine, "e", {"a": 2, "b": 2, "c": 2})
    stalled = 0.5
    async with running(machine, engine) as r:
        for model in "abc":
            await r.ask(engine, model)
            machine.now += 1
        r.watch._stalled = lambda: stalled
        await r.watch.look()
        assert engine.unloaded == ["a"]
        stalled = 0.0
        await r.watch.look()
        assert engine.unloaded == ["a"]
        assert "50% of the time" in (await r.plugin.report()).decisions[0].what


async def test_a_long_prompt_is_compacted_once_per_conversation_while_memory_is_short(machine):
    engine = Engine(machine, "e", {"a": 10})
    async with running(machine, engine, keep=("e/*",)) as r:
        await r.ask(engine, "a", session="one")
        machine.eaten = 7
        await r.watch.look()
        assert r.watch.tight
        engine.tokens = 20_000
        with pytest.raises(BackendRefused) as caught:
            await r.ask(engine, "a", session="one")
        assert caught.value.status == 400
        assert "prompt is too long: 20000 tokens > 16384 maximum" in caught.value.message
        assert any("memory of this machine is short" in note for note in r.notes)
        await r.ask(engine, "a", session="one")  # the compaction itself
        engine.tokens = 16_000
        await r.ask(engine, "a", session="two")
        await r.ask(engine, "a")  # not a conversation that could be compacted
        machine.eaten = 0
        await r.watch.look()
        engine.tokens = 20_000
        await r.ask(engine, "a", session="two")
        assert not r.arbiter._running


def test_the_share_of_waiting_is_read_from_the_kernel(tmp_path):
    file, now = tmp_path / "proc/pressure/memory", 10.0
    file.parent.mkdir(parents=True)
    file.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0.0 total=9")
    stall = Stall(tmp_path, lambda: now)
    file.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.0 total=9")
    now += 2.0
    assert stall.share() == 0.25
    assert stall.share() == 0.0


def test_the_own_group_counts_before_the_machine(tmp_path):
    group = tmp_path / "sys/fs/cgroup/a"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")
    pressure, now = group / "memory.pressure", 0.0
    pressure.write_text("some total=0")
    stall = Stall(tmp_path, lambda: now)
    pressure.write_text("some total=900000")
    now = 1.0
    assert stall.share() == 0.9


def test_a_system_without_pressure_information_never_waits(tmp_path):
    assert Stall(tmp_path).share() == 0.0
