"""A worker's life: started by a request, ended when idle, replaced after a crash."""

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import psutil
import pytest

from plugway import InvalidRequest, RequestRejected
from plugway_local_engine import Limits
from plugway_local_models import AsksForRoom, HoldsModels, MakesRoom
from plugway_media import engine as engine_module
from plugway_media.engine import Engine, EngineSpec, HoldsEngines

pytestmark = pytest.mark.anyio
QUICK = Limits(delays=(0.01,), crashes=3)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def engines_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def spec(**more):
    return EngineSpec("slow", "slow_engine:main", size=1 << 20, **more)


@asynccontextmanager
async def running(**more):
    engine = Engine("test", spec(**more), limits=QUICK)
    try:
        with anyio.fail_after(30):
            yield engine
    finally:
        await engine.aclose()


async def gone(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await anyio.sleep(0.01)


async def test_the_first_request_starts_the_worker_and_the_next_one_finds_it():
    async with running() as engine:
        assert engine.held() is None
        first = await engine.one({"do": "echo"}, b"abc")
        second = await engine.one({"do": "echo"}, b"")
        assert first.body == b"abc"
        assert second.header["served"] == 2
        held = engine.held()
        assert held.pid == first.header["pid"] == second.header["pid"]
        assert held.state == "loaded"
        assert held.size > 1 << 20
        assert held.requests == 0


async def test_pieces_arrive_in_order_and_leaving_early_stops_the_rest():
    async with running() as engine:
        async with engine.call({"do": "pieces", "count": 5}) as pieces:
            assert [piece.header["number"] async for piece in pieces] == [0, 1, 2, 3, 4]
        async with engine.call({"do": "count"}) as pieces:
            async for piece in pieces:
                if piece.header["number"] == 3:
                    break
        assert (await engine.one({"do": "echo"})).header["served"] == 3


async def test_a_killed_worker_is_one_failed_request_and_those_behind_it_get_a_new_one():
    async with running() as engine:
        pid = (await engine.one({"do": "echo"})).header["pid"]
        results = []

        async def ask(what):
            try:
                results.append((await engine.one({"do": what})).header["pid"])
            except RequestRejected as error:
                results.append(error)

        async with anyio.create_task_group() as group:
            for what in ("die", "echo", "echo"):
                group.start_soon(ask, what)
                await anyio.lowlevel.checkpoint()
        assert results[0].status == 503
        assert "SIGKILL" in results[0].message
        assert results[1] == results[2] != pid


async def test_a_worker_that_crashes_too_often_gets_another_chance_later(monkeypatch):
    async with running() as engine:
        for _ in range(3):
            with pytest.raises(RequestRejected, match="SIGKILL"):
                await engine.one({"do": "die"})
        with pytest.raises(RequestRejected, match="disabled after 3 crashes"):
            while True:  # the last crash may still be noticed
                await engine.one({"do": "echo"})
        monkeypatch.setattr(engine_module, "_AGAIN_SECONDS", 0.0)
        assert (await engine.one({"do": "echo"})).header["served"] == 1


@pytest.mark.parametrize(
    ("what", "kind", "status", "message"),
    [
        ("refuse", InvalidRequest, 400, "the file is not a picture"),
        ("unknown", RequestRejected, 500, r"failed \(ValueError\)"),
        ("fail", RequestRejected, 503, "out of ideas"),
    ],
)
async def test_what_an_engine_raises_fails_one_request(what, kind, status, message):
    async with running() as engine:
        with pytest.raises(kind, match=message) as caught:
            await engine.one({"do": what})
        assert caught.value.status == status
        assert (await engine.one({"do": "echo"})).header["pid"]


async def test_an_engine_that_is_not_installed_says_what_to_install():
    async with running(config={"missing": "install it with X"}) as engine:
        for _ in range(2):
            with pytest.raises(RequestRejected, match="install it with X") as caught:
                await engine.one({"do": "echo"})
            assert caught.value.status == 503
            assert ("x-should-retry", "false") in caught.value.headers


async def test_further_requests_are_refused_when_the_queue_is_full():
    async with running(waiting=2) as engine, anyio.create_task_group() as group:
        await engine.load()
        done = []

        async def ask():
            done.append(await engine.one({"do": "compute", "seconds": 0.2}))

        for _ in range(3):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RequestRejected, match="2 requests are waiting") as caught:
            await engine.one({"do": "echo"})
        assert caught.value.status == 429
        assert engine.held().requests == 3


async def test_a_request_that_takes_too_long_fails_and_the_next_one_waits_for_its_end():
    async with running(seconds=0.1) as engine:
        await engine.load()
        with pytest.raises(RequestRejected, match=r"longer than 0\.1 s") as caught:
            await engine.one({"do": "compute", "seconds": 0.5})
        assert caught.value.status == 504
        assert (await engine.one({"do": "echo"})).header["served"] == 2


async def test_a_request_that_does_not_stop_is_killed_without_harm_to_the_next(monkeypatch):
    monkeypatch.setattr(engine_module, "_CANCEL_SECONDS", 0.1)
    async with running() as engine:
        await engine.load()
        pid = engine.pid
        with anyio.move_on_after(0.1):
            await engine.one({"do": "compute", "seconds": 60})
        assert (await engine.one({"do": "echo"})).header["pid"] != pid


async def test_an_idle_worker_is_ended_and_the_next_request_starts_another():
    async with running(idle_seconds=0.1) as engine, anyio.create_task_group() as group:
        pid = (await engine.one({"do": "echo"})).header["pid"]
        group.start_soon(engine.keep)
        await gone(pid)
        assert (await engine.one({"do": "echo"})).header["pid"] != pid
        group.cancel_scope.cancel()


async def test_the_event_loop_is_not_held_by_the_largest_file(monkeypatch):
    """In CPU time of the loop's thread, because this machine does other things too."""
    steps, run = [], asyncio.Handle._run

    def timed(handle):
        before = time.thread_time()
        run(handle)
        steps.append(time.thread_time() - before)

    async with running() as engine:
        await engine.load()
        monkeypatch.setattr(asyncio.Handle, "_run", timed)
        await engine.one({"do": "echo"}, b"x" * 25_000_000)
        monkeypatch.undo()
    assert max(steps) < 0.1


class Holder(HoldsEngines):
    def __init__(self, engine):
        self.engines = [engine]


class Room:
    """Makes room at once, and notes for whom."""

    def __init__(self):
        self.held = []

    @asynccontextmanager
    async def loading(self, backend, model, size, note):
        self.held.append((backend, model, size))
        yield

    async def obtainable(self, backend, model):
        return 1 << 40

    async def report(self):
        raise AssertionError


async def test_the_plugin_that_makes_room_sees_the_engine_and_can_end_its_worker():
    holder, room = Holder(Engine("test", spec(), limits=QUICK)), Room()
    assert isinstance(holder, HoldsModels)
    assert isinstance(holder, AsksForRoom)
    assert isinstance(room, MakesRoom)
    holder.ask_for_room(room)
    async with holder.running():
        assert await holder.loaded() == []
        assert not await holder.unload("slow")
        await holder.load("slow")
        assert room.held == [("test", "slow", await holder.needs("slow"))]
        [held] = await holder.loaded()
        assert held.idle_seconds < 20
        assert await holder.unload("slow")
        await gone(held.pid)
        assert await holder.loaded() == []
        with pytest.raises(RequestRejected, match="unknown engine 'fast'; known: slow"):
            await holder.load("fast")
        await holder.load("slow")
        [held] = await holder.loaded()
    await gone(held.pid)
