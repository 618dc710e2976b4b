"""A block of a task that can be cancelled from outside, and limits on coroutines that wait."""

import asyncio
import time

import anyio
import pytest

from plugway_http import cancel as _cancel
from plugway_http.cancel import Cancellable, Deadline, bounded

pytestmark = pytest.mark.anyio


async def test_a_cancelled_block_ends_and_the_task_goes_on():
    with Cancellable() as block:
        asyncio.get_running_loop().call_soon(block.cancel)
        asyncio.get_running_loop().call_soon(block.cancel)
        await anyio.sleep(5)
        raise AssertionError("it must not come to this")
    await anyio.sleep(0.01)
    assert asyncio.current_task().cancelling() == 0


async def test_a_block_that_is_not_cancelled_hides_no_error():
    with pytest.raises(ZeroDivisionError), Cancellable():
        raise ZeroDivisionError


@pytest.mark.parametrize("both", [False, True])
async def test_a_cancellation_of_somebody_else_passes_through(both):
    entered = asyncio.Event()

    async def work():
        with Cancellable() as block:
            if both:
                asyncio.get_running_loop().call_soon(block.cancel)
            entered.set()
            await asyncio.sleep(5)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_block_that_does_not_give_in_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(_cancel, "AGAIN_SECONDS", 0.02)
    refused = 0
    with Cancellable() as block:
        asyncio.get_running_loop().call_soon(block.cancel)
        for _ in range(3):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                refused += 1
        await asyncio.sleep(5)
    assert refused == 3
    await asyncio.sleep(0.05)


async def test_clean_up_in_a_cancelled_block_may_wait():
    cleaned = False
    with Cancellable() as block:
        asyncio.get_running_loop().call_soon(block.cancel)
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0.01)
            cleaned = True
    assert cleaned


async def test_a_coroutine_that_does_not_wait_is_not_limited():
    async def answer():
        return 7

    assert await bounded(answer(), 0) == 7


async def test_a_coroutine_that_waits_too_long_is_ended():
    async def waits():
        await asyncio.sleep(0)
        await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        await bounded(waits(), 0.02)


async def test_a_coroutine_that_waits_a_little_gives_what_it_returns():
    async def waits():
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0.01)
        return 7

    assert await bounded(waits(), 2) == 7


async def test_a_deadline_ends_its_block_and_the_task_goes_on():
    with pytest.raises(TimeoutError), Deadline(0.01):
        await anyio.sleep(5)
    await anyio.sleep(0.02)
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("seconds", [None, 5])
async def test_a_deadline_that_does_not_pass_changes_nothing(seconds):
    with Deadline(seconds):
        await anyio.sleep(0.01)
    with pytest.raises(ZeroDivisionError), Deadline(seconds):
        raise ZeroDivisionError
    assert asyncio.current_task().cancelling() == 0


async def test_a_deadline_is_not_the_cancellation_of_somebody_else():
    async def work():
        with Deadline(5):
            await asyncio.sleep(5)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_inner_of_two_deadlines_is_the_one_that_passes():
    with Deadline(5):
        with pytest.raises(TimeoutError), Deadline(0.01):
            await anyio.sleep(5)
        await anyio.sleep(0.01)


async def test_a_loop_that_was_blocked_takes_in_what_has_arrived_before_a_deadline_passes():
    asyncio.get_running_loop().call_soon(time.sleep, 0.3)
    with Deadline(0.2):
        await anyio.sleep(0.1)


async def test_a_deadline_passes_after_a_block_when_nothing_arrives():
    asyncio.get_running_loop().call_soon(time.sleep, 0.3)
    with pytest.raises(TimeoutError), Deadline(0.2):
        await anyio.sleep(60)
