"""Many clients at once: some that disconnect, some that are slow, some that need every event.

Sizes are small by default; with `PLUGWAY_SLOW=1` the storm has 10,000 requests. Speed is measured by
`bench/gateway.py`.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import orjson
import pytest

from plugway.config.config import parse_config
from plugway.http.app import App
from plugway.http.snapshot import Snapshot
from plugway.testing import (
    Hold,
    LeakCheck,
    RawClient,
    ScriptedUpstream,
    Sleep,
    assert_valid_stream,
    build_plugin,
    gateway,
    messages_request,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_http.server import Server, bind
from plugway_resilience import Resilience
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

slow = [pytest.mark.slow, pytest.mark.timeout(600)]


def numbered(count: int, *, size: int = 0, start: int = 0) -> list:
    """A stream whose text deltas count up, so that a lost or moved one is detected."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    stopped = {"stop_reason": "end_turn", "stop_sequence": None}
    block = {"type": "text", "text": ""}
    texts = (f"{number} {'x' * size}" for number in range(start, start + count))
    events = [
        ("message_start", {"message": message}),
        ("content_block_start", {"index": 0, "content_block": block}),
        *(
            ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})
            for text in texts
        ),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": stopped, "usage": usage}),
        ("message_stop", {}),
    ]
    return [(name, {"type": name, **data}) for name, data in events]


def plugins(url: str) -> list:
    return [
        build_plugin(Resilience, "resilience"),
        build_plugin(Router, "router", models={"*": ["upstream"]}),
        build_plugin(AnthropicCompatible, "upstream", base_url=url, models=["m"]),
    ]


@asynccontextmanager
async def stack(otherwise=None, **server):
    """A gateway with the default plugins in front of an upstream that always replies `otherwise`."""
    said = {} if otherwise is None else {"otherwise": otherwise}
    async with (
        ScriptedUpstream(**said) as upstream,
        gateway(plugins(upstream.url), **server) as running,
    ):
        yield running, upstream


def ask(running, **fields) -> bytes:
    return messages_request(request_body("x", **{"stream": True, **fields}), token=running.token)


async def whole_stream(running, expected, *, seconds: float = 30) -> None:
    """One client that requires every event, unaltered and in order."""
    async with RawClient(running.url) as client:
        await client.send(ask(running))
        response = await client.read(seconds=seconds)
    assert (response.status, response.complete) == (200, True)
    events = [event for event in response.events if event[0] != "ping"]
    assert_valid_stream(events)
    told = [(name, without_model(data)) for name, data in events]
    assert told == [(name, without_model(data)) for name, data in expected]


def without_model(data: dict) -> dict:
    """The event without the model, which the gateway replaces with the requested one."""
    message = data.get("message")
    return {**data, "message": {**message, "model": ""}} if message else data


# Clients that disconnect


PHASES = ("connected", "head", "body", "asked", "answered", "streaming", "done")


async def leave(running, source: random.Random) -> None:
    """Cancel one request at a random point, with or without a proper close."""
    phase = source.choice(PHASES)
    request = ask(running)
    head = request.index(b"\r\n\r\n") + 4
    cut = {"connected": 0, "head": source.randrange(1, head), "body": source.randrange(head, 300)}
    async with RawClient(running.url) as client:
        await client.send(request[: cut.get(phase, len(request))])
        await asyncio.sleep(source.choice((0, 0, 0.001, 0.02)))
        try:
            if phase == "answered":
                await client.read_head()
            elif phase == "streaming":
                await client.read_until(b"content_block_delta")
            elif phase == "done":
                await client.read()
        finally:
            if source.random() < 0.5:
                client.abort()


async def storm(count: int) -> None:
    source = random.Random(16)
    finite = sse(numbered(6), delay=0.002)
    endless = sse(numbered(2), end=Hold())

    def answer(request):
        return source.choice((finite, finite, [Sleep(0.02), *finite], endless))

    async with stack(answer) as (running, upstream):
        upstream.script(*[finite] * 16)
        expected = numbered(6)
        await asyncio.gather(*(whole_stream(running, expected) for _ in range(16)))
        async with LeakCheck(settle=5, rss_slack=64 * 2**20):
            limit = asyncio.Semaphore(16)

            async def one() -> None:
                async with limit:
                    # A reply that never ends is abandoned after a while.
                    async with asyncio.timeout(30):
                        await leave_in_time(running, source)

            await asyncio.gather(*(one() for _ in range(count)))
            await until(lambda: running.app.active == 0)
            upstream.requests.clear()
        upstream.script(finite)
        await whole_stream(running, expected)


async def leave_in_time(running, source: random.Random) -> None:
    try:
        async with asyncio.timeout(0.5):
            await leave(running, source)
    except TimeoutError:
        pass  # the answer that never ends


async def until(condition, *, seconds: float = 5) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.01)


async def test_500_clients_that_leave_at_any_point_leave_nothing_behind():
    await storm(500)


@pytest.mark.parametrize("count", [pytest.param(10_000, marks=slow)])
async def test_10_000_clients_that_leave_at_any_point_leave_nothing_behind(count):
    await storm(count)


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_client_disconnect_closes_the_upstream_at_once(phase):
    script = [Hold()] if phase == "before" else sse(numbered(3), end=Hold())
    times = []
    async with stack(script) as (running, upstream):
        for number in range(1, 41):
            async with RawClient(running.url) as client:
                await client.send(ask(running))
                request = await upstream.wait_for_request(number)
                if phase == "after":
                    await client.read_until(b"content_block_delta")
                began = time.monotonic()
                client.abort() if number % 2 else client.close()
                with anyio.fail_after(5):
                    await request.left.wait()
            times.append(request.closed_at - began)
    assert sorted(times)[-2] < 0.1


async def test_a_half_closed_client_counts_as_disconnected():
    async with (
        stack(sse(numbered(3), end=Hold())) as (running, upstream),
        RawClient(running.url) as client,
    ):
        await client.send(ask(running))
        request = await upstream.wait_for_request()
        await client.read_until(b"content_block_delta")
        client.finish()
        with anyio.fail_after(5):
            await request.left.wait()


async def test_100_simultaneous_disconnects_are_all_noticed():
    async with stack(sse(numbered(3), end=Hold())) as (running, upstream):
        clients = [RawClient(running.url) for _ in range(100)]
        for client in clients:
            await client.__aenter__()
            await client.send(ask(running))
        for client in clients:
            await client.read_until(b"content_block_delta")
        began = time.monotonic()
        for client in clients:
            client.abort()
        await until(lambda: running.app.active == 0)
        await until(lambda: all(request.closed_at for request in upstream.requests))
        assert max(request.closed_at for request in upstream.requests) - began < 5


# Clients that read everything


async def test_50_streams_lose_reorder_and_alter_nothing():
    expected = numbered(90)
    async with stack(sse(expected, delay=1 / 30)) as (running, upstream):
        await asyncio.gather(*(whole_stream(running, expected) for _ in range(50)))
        assert running.app.active == 0
        assert len(upstream.requests) == 50


async def test_a_client_that_does_not_read_delays_no_other():
    flood = sse(numbered(400, size=20_000))
    expected = numbered(20)

    def answer(request):
        return flood if b"flood" in request.body else sse(expected)

    async with stack(answer) as (running, _):
        stuck = [RawClient(running.url, receive_buffer=4096) for _ in range(8)]
        for client in stuck:
            await client.__aenter__()
            await client.send(ask(running, metadata={"user_id": "flood"}))
            await client.read_head()
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await asyncio.gather(*(whole_stream(running, expected) for _ in range(10)))
        assert time.monotonic() - began < 5
        assert running.app.active == 8
        slowest = await stuck[0].read_bytes(300_000)
        told = [data["delta"]["text"].split()[0] for name, data in slowest.events[2:]]
        assert told == [str(number) for number in range(len(told))]
        for client in stuck:
            client.abort()
        await until(lambda: running.app.active == 0)


async def test_health_answers_while_clients_leave_large_streams():
    flood = sse(numbered(250, size=20_000))
    async with stack(flood) as (running, _):
        waits = []
        leaving = asyncio.gather(*(leave_a_large_one(running, 0.02 * n) for n in range(20)))
        while not leaving.done():
            began = time.monotonic()
            assert (await running.client.get("/health")).status_code == 200
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.005)
        await leaving
        await until(lambda: running.app.active == 0)
    assert len(waits) >= 5
    assert sorted(waits)[len(waits) // 2] < 0.2
    assert max(waits) < 5


async def leave_a_large_one(running, delay: float) -> None:
    await asyncio.sleep(delay)
    async with RawClient(running.url, receive_buffer=65536) as client:
        await client.send(ask(running))
        await client.read_bytes(200_000)
        client.abort()


# Changes under load


async def test_20_reloads_under_20_streams_lose_nothing():
    expected = numbered(40)
    async with stack(sse(expected, delay=0.04)) as (running, upstream):
        old = running.app.snapshot
        config = parse_config(
            orjson.dumps(
                {
                    "server": {"token": running.token},
                    "plugins": [
                        {"use": "resilience"},
                        {"use": "router", "options": {"models": {"*": ["upstream"]}}},
                        {
                            "use": "anthropic-compatible",
                            "name": "upstream",
                            "options": {"base_url": upstream.url, "models": ["m"]},
                        },
                    ],
                }
            ).decode(),
            "test",
        )
        streams = [asyncio.create_task(whole_stream(running, expected)) for _ in range(10)]
        for number in range(20):
            await asyncio.sleep(0.03)
            await running.app.reload(config)
            if number % 2:
                streams.append(asyncio.create_task(whole_stream(running, expected)))
        await asyncio.gather(*streams)
        assert running.app.snapshot is not old
        with anyio.fail_after(5):
            await old.closed.wait()


@dataclass
class Address:
    """Address of a gateway that a test starts itself."""

    url: str
    token: str = "test-token"


async def test_a_drain_lets_50_streams_end_and_refuses_new_requests():
    expected = numbered(20)
    config = parse_config('server: {token: "test-token"}\nplugins: []', "test")
    async with ScriptedUpstream(otherwise=sse(expected, delay=0.05)) as upstream:
        app = App(config, Snapshot(config, plugins(upstream.url)))
        server = Server(app, bind("127.0.0.1", 0), drain_seconds=10, on_draining=app.drain)
        address = Address(f"http://127.0.0.1:{server.port}")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve())
            await server.started.wait()
            for _ in range(50):
                tasks.create_task(whole_stream(address, expected))
            await upstream.wait_for_request(50)
            server.stop()
            await until(lambda: app.draining)
            with pytest.raises(ConnectionRefusedError), anyio.fail_after(5):
                while True:  # the listener closes just after that
                    async with RawClient(address.url):
                        await anyio.sleep(0.01)
            assert app.active == 50
        assert app.active == 0
