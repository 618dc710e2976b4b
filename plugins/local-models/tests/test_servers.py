"""Requests in flight, loads that continue, and waiting for a state of a server."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from plugway import BackendUnavailable, Reply
from plugway_local_models.servers import InUse, Loading, becomes, has_gpu_memory

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def stream():
    yield b"event: ping\n\n"


async def sent(reply):
    return reply


async def test_a_stream_counts_until_it_is_closed():
    uses, closed = InUse(), []

    async def close():
        closed.append(True)

    reply = await uses.during("m", sent(Reply.relay(stream(), close=close)))
    assert (uses.requests("m"), uses.idle_seconds("m")) == (1, 0.0)
    await reply.close()
    assert closed
    assert uses.requests("m") == 0
    assert uses.idle_seconds("m") >= 0


async def test_a_stream_that_is_closed_twice_ends_no_other():
    uses = InUse()
    first, second = [await uses.during("m", sent(Reply.relay(stream()))) for _ in range(2)]
    await first.close()
    await first.close()
    assert uses.requests("m") == 1
    await second.close()
    assert uses.requests("m") == 0


async def test_a_whole_reply_is_finished_when_it_arrives():
    uses = InUse()
    await uses.during("m", sent(Reply.message({"content": []})))
    assert uses.requests("m") == 0
    assert uses.idle_seconds("m") is not None
    assert uses.idle_seconds("other") is None


async def test_a_request_that_fails_or_is_cancelled_is_no_longer_counted():
    uses = InUse()

    async def fails():
        raise BackendUnavailable("gone")

    with pytest.raises(BackendUnavailable):
        await uses.during("m", fails())
    with anyio.move_on_after(0.01):
        await uses.during("m", anyio.sleep_forever())
    with pytest.raises(BackendUnavailable), uses.of("m"):
        assert uses.requests("m") == 1
        raise BackendUnavailable("gone")
    assert uses.requests("m") == 0


async def test_two_callers_share_a_load_which_goes_on_when_one_of_them_leaves():
    loading, go, begun = Loading(), anyio.Event(), []

    async def load():
        begun.append(True)
        await go.wait()

    with anyio.move_on_after(0.01) as left:
        await loading.join("m", load)
    assert left.cancelled_caught
    assert loading.models == {"m"}
    async with anyio.create_task_group() as group:
        group.start_soon(loading.join, "m", load)
        go.set()
    assert begun == [True]
    assert not loading.models


async def test_a_load_that_failed_is_tried_again():
    loading, begun = Loading(), []

    async def load():
        begun.append(True)
        raise BackendUnavailable("no room")

    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            await loading.join("m", load)
    assert begun == [True, True]


async def test_closing_ends_all_loads():
    loading = Loading()
    waiting = asyncio.create_task(loading.join("m", anyio.sleep_forever))
    while not loading.models:
        await anyio.lowlevel.checkpoint()
    await loading.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not loading.models


async def test_a_state_is_waited_for_and_not_forever():
    answers = iter([False, False, True])

    async def check():
        return next(answers)

    assert await becomes(check, 20)

    async def never():
        return False

    assert not await becomes(never, 0.01)
    assert not await becomes(never, 0)


@pytest.mark.parametrize(
    ("system", "machine", "device", "found"),
    [
        ("darwin", "arm64", True, False),
        ("darwin", "x86_64", False, True),
        ("linux", "x86_64", True, True),
        ("linux", "aarch64", False, False),
    ],
)
def test_only_a_gpu_beside_the_memory_has_its_own(
    monkeypatch, tmp_path, system, machine, device, found
):
    driver = tmp_path / "driver"
    if device:
        driver.touch()
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("plugway_local_models.servers._GPU_DEVICES", (str(driver),))
    assert has_gpu_memory() is found
