"""A gateway with a low limit of open files, and more clients than that."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from plugway.testing import (
    RawClient,
    ScriptedUpstream,
    WaitFor,
    anthropic_stream,
    messages_request,
    request_body,
    sse,
)
from tests.faults.served import TOKEN, served

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

FILES = 128
CLIENTS = 300
CONFIG = """
plugins:
  - use: router
    options: {models: {"*": [up/m]}}
  - use: anthropic-compatible
    name: up
    options: {base_url: "%s", models: [m]}
"""
REQUEST = messages_request(request_body("x", stream=True), token=TOKEN)
WAITING = "new connections wait until files or memory are free again"


@asynccontextmanager
async def few_files(folder):
    """A gateway, its upstream, and an event that each reply waits for."""
    go_on = anyio.Event()
    head, *events = sse(anthropic_stream("Hello."))
    script = [head, *events[:2], WaitFor(go_on), *events[2:]]
    async with (
        ScriptedUpstream(otherwise=script) as upstream,
        served(folder, CONFIG % upstream.url, files=FILES) as gateway,
    ):
        yield gateway, upstream, go_on


async def whole_stream(gateway, seconds):
    async with RawClient(gateway.url) as client:
        await client.send(REQUEST)
        response = await client.read(seconds=seconds)
    return response.status, response.complete


def assert_told_once(gateway):
    assert gateway.log.count(WAITING) == 1
    assert "Too many open files" not in gateway.log
    assert "Traceback" not in gateway.log


async def test_300_streams_are_all_served_with_128_files(tmp_path):
    async with few_files(tmp_path) as (gateway, upstream, go_on):
        asked = [asyncio.create_task(whole_stream(gateway, 60)) for _ in range(CLIENTS)]
        await gateway.says(WAITING)
        await upstream.wait_for_request(20)
        assert upstream.connections < FILES / 2
        go_on.set()
        assert await asyncio.gather(*asked) == [(200, True)] * CLIENTS
        assert await whole_stream(gateway, 5) == (200, True)
        assert_told_once(gateway)


async def test_300_silent_clients_break_no_stream_and_others_are_served_when_they_go(tmp_path):
    async with few_files(tmp_path) as (gateway, upstream, go_on):
        asked = [asyncio.create_task(whole_stream(gateway, 60)) for _ in range(10)]
        await upstream.wait_for_request(10, seconds=30)
        async with AsyncExitStack() as silent:
            for _ in range(CLIENTS):
                await silent.enter_async_context(RawClient(gateway.url))
            await gateway.says(WAITING)
            go_on.set()
            assert await asyncio.gather(*asked) == [(200, True)] * 10
        assert await whole_stream(gateway, 5) == (200, True)
        assert_told_once(gateway)
