"""A request that is asked again while it is being answered, on real sockets."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import (
    Cut,
    Gateway,
    Hold,
    RawClient,
    ScriptedUpstream,
    WaitFor,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    messages_request,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_resilience import Resilience
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

STREAM = anthropic_stream(["Hel", "lo."])
GRACE = 0.6


class Watch(Plugin[NoOptions]):
    """Notes how exchanges end."""

    def __init__(self) -> None:
        super().__init__(NoOptions(), name="watch")
        self.outcomes: list[Any] = []

    @hookimpl
    async def finished(self, exchange, outcome):
        self.outcomes.append(outcome)


@dataclass
class Bench:
    running: Gateway
    upstream: ScriptedUpstream
    second: ScriptedUpstream
    watch: Watch
    log: pytest.LogCaptureFixture

    @asynccontextmanager
    async def asking(self, *, stream=True, session="s1", retry=0, patience=None, **fields):
        """A client that has asked."""
        headers = {"x-stainless-retry-count": str(retry)}
        headers |= {"x-claude-code-session-id": session} if session else {}
        headers |= {"x-stainless-timeout": str(patience)} if patience else {}
        body = request_body("x", stream=stream, **fields)
        host = f"127.0.0.1:{self.running.port}"
        request = messages_request(body, self.running.token, headers, host=host)
        async with RawClient(self.running.url) as client:
            await client.send(request)
            yield client

    async def asked(self, count=1):
        """Wait until the upstream has that many requests."""
        await until(lambda: len(self.upstream.requests) >= count)

    async def joined(self, count=1):
        """Wait until that many requests have joined another."""
        await until(lambda: self.log.text.count("joined the reply") >= count)

    async def stopped(self):
        """Seconds until the upstream sees that its answer is not wanted."""
        began = time.monotonic()
        with anyio.fail_after(5):
            await self.upstream.requests[0].left.wait()
        return time.monotonic() - began


async def until(holds):
    with anyio.fail_after(5):
        while not holds():
            await anyio.sleep(0.002)


@pytest.fixture
def bench(caplog):
    caplog.set_level("INFO")

    @asynccontextmanager
    async def make(*scripts, second=(), **options):
        watch = Watch()
        async with ScriptedUpstream(*scripts) as up, ScriptedUpstream(*second) as other:
            options = {"resend_grace_seconds": GRACE, **options}
            stack = [
                watch,
                build_plugin(Resilience, "resilience", **options),
                build_plugin(Router, "router", models={"*": ["up/m", "second/m"]}),
                build_plugin(AnthropicCompatible, "up", base_url=up.url, zone="v"),
                build_plugin(AnthropicCompatible, "second", base_url=other.url, zone="v"),
            ]
            async with gateway(stack) as running:
                yield Bench(running, up, other, watch, caplog)

    return make


def held(go):
    """An answer that begins when `go` is set."""
    return [WaitFor(go), *sse(STREAM)]


def text_of(response):
    return "".join(
        data["delta"]["text"] for name, data in response.events if name == "content_block_delta"
    )


async def test_pain_18_a_resend_joins_the_running_answer_and_gets_its_stream_from_the_start(bench):
    go = anyio.Event()
    async with bench(held(go)) as b, b.asking() as first:
        await b.asked()
        async with b.asking() as second:
            await b.joined()
            go.set()
            answers = [await first.read(), await second.read()]
        await until(lambda: len(b.watch.outcomes) == 2)
    assert [text_of(answer) for answer in answers] == ["Hello.", "Hello."]
    assert answers[0].body == answers[1].body
    assert len(b.upstream.requests) == 1
    assert "by=resilience" in answers[1].header("plugway-receipt")
    assert [outcome.kind for outcome in b.watch.outcomes] == ["completed"] * 2
    assert len({outcome.usage for outcome in b.watch.outcomes}) == 1
    assert b.watch.outcomes[0].usage.output_tokens


@pytest.mark.parametrize("stream", [True, False])
async def test_the_work_goes_on_for_a_client_that_ran_out_of_time_and_asks_again(bench, stream):
    go = anyio.Event()
    answer = held(go) if stream else [WaitFor(go), *respond(200, anthropic_message("Hello."))]
    async with bench(answer, resend_after_seconds=[0.1]) as b:
        async with b.asking(stream=stream) as first:
            await b.asked()
            first.abort()
        async with b.asking(stream=stream) as second:
            await b.joined()
            go.set()
            told = await second.read()
    assert "Hello." in (text_of(told) if stream else told.json["content"][0]["text"])
    assert len(b.upstream.requests) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_done_before_the_client_asks_again_is_kept_for_it(bench, stream):
    go = anyio.Event()
    answer = held(go) if stream else [WaitFor(go), *respond(200, anthropic_message("Hello."))]
    async with bench(answer, resend_after_seconds=[0.1]) as b:
        async with b.asking(stream=stream) as first:
            await b.asked()
            first.abort()
        go.set()
        await until(lambda: b.watch.outcomes)
        async with b.asking(stream=stream) as second:
            told = await second.read()
        assert "Hello." in (text_of(told) if stream else told.json["content"][0]["text"])
        async with b.asking(stream=stream) as third:
            await third.read()
    assert len(b.upstream.requests) == 2, "it was given once, and is not kept beyond that"


async def test_the_work_stops_when_the_client_does_not_ask_again_in_time(bench):
    async with bench([Hold()], resend_after_seconds=[0.1]) as b:
        async with b.asking() as first:
            await b.asked()
            first.abort()
        assert GRACE / 2 < await b.stopped() < GRACE + 1


async def test_pain_19_a_client_that_leaves_at_any_other_time_stops_the_work_at_once(bench):
    async with bench([Hold()]) as b:
        async with b.asking(patience=600) as first:
            await b.asked()
            first.abort()
        assert await b.stopped() < GRACE / 2


async def test_a_client_that_leaves_when_its_own_time_is_over_may_ask_again(bench):
    async with bench([Hold()], resend_after_seconds=[]) as b:
        async with b.asking(patience=1) as first:
            await b.asked()
            await until(lambda: time.monotonic() - b.upstream.requests[0].arrived > 0.6)
            first.abort()
        async with b.asking(patience=1) as second:
            await b.joined()
            second.abort()
        await b.stopped()
    assert len(b.upstream.requests) == 1


async def test_the_first_client_may_leave_while_the_second_one_waits(bench):
    go = anyio.Event()
    async with bench(held(go)) as b, b.asking() as first:
        await b.asked()
        async with b.asking() as second:
            await b.joined()
            first.abort()
            go.set()
            assert text_of(await second.read()) == "Hello."
    assert len(b.upstream.requests) == 1


async def test_the_work_stops_at_once_when_the_last_of_them_leaves(bench):
    async with bench([Hold()]) as b, b.asking() as first:
        await b.asked()
        async with b.asking() as second:
            await b.joined()
            first.abort()
            await anyio.sleep(0.02)
            assert not b.upstream.requests[0].left.is_set()
            second.abort()
            assert await b.stopped() < GRACE / 2


async def test_a_resend_without_a_stream_joins_one_with(bench):
    go = anyio.Event()
    async with bench(held(go)) as b, b.asking() as first:
        await b.asked()
        async with b.asking(stream=False) as second:
            await b.joined()
            go.set()
            assert (await second.read()).json["content"] == [{"type": "text", "text": "Hello."}]
            assert text_of(await first.read()) == "Hello."
    assert len(b.upstream.requests) == 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({}, {"session": "s2"}),
        ({}, {"max_tokens": 7}),
        ({}, {"model": "n"}),
        ({"session": None}, {"session": None}),
    ],
)
async def test_other_requests_are_answered_by_themselves(bench, first, other):
    scripts = [sse(STREAM), sse(STREAM)]
    go = anyio.Event()
    async with (
        bench(*[[WaitFor(go), *script] for script in scripts]) as b,
        b.asking(**first) as one,
        b.asking(**other) as two,
    ):
        await b.asked(2)
        go.set()
        assert text_of(await one.read()) == text_of(await two.read()) == "Hello."


async def test_an_sdk_that_says_that_it_asks_again_needs_no_session(bench):
    go = anyio.Event()
    async with bench(held(go)) as b, b.asking(session=None):
        await b.asked()
        async with b.asking(session=None, retry=1) as again:
            await b.joined()
            go.set()
            assert text_of(await again.read()) == "Hello."
    assert len(b.upstream.requests) == 1


async def test_a_failure_is_told_to_both(bench):
    go = anyio.Event()
    refusal = anthropic_error(400, "invalid_request_error", "no such field")
    async with bench([WaitFor(go), *refusal]) as b, b.asking() as first:
        await b.asked()
        async with b.asking() as second:
            await b.joined()
            go.set()
            answers = [await first.read(), await second.read()]
    assert [answer.status for answer in answers] == [400, 400]
    assert "no such field" in answers[1].json["error"]["message"]
    assert len(b.upstream.requests) == 1


@pytest.mark.parametrize("leaves", [False, True])
async def test_both_fall_back_together(bench, leaves):
    go, on = anyio.Event(), anyio.Event()
    busy = anthropic_error(503, "api_error", "down")
    async with bench([WaitFor(go), *busy], second=[held(on)]) as b, b.asking() as first:
        await b.asked()
        async with b.asking() as second:
            await b.joined()
            if leaves:
                first.abort()
            go.set()
            await until(lambda: b.second.requests)
            await b.joined(1 if leaves else 2)
            on.set()
            assert text_of(await second.read()) == "Hello."
    assert len(b.upstream.requests) == len(b.second.requests) == 1


async def test_a_stream_that_breaks_breaks_for_both(bench):
    go = anyio.Event()
    async with bench([WaitFor(go), *sse(STREAM[:3], end=Cut())]) as b, b.asking() as first:
        await b.asked()
        async with b.asking() as second:
            await b.joined()
            go.set()
            answers = [await first.read(), await second.read()]
    assert not any(answer.complete for answer in answers)


async def test_memory_is_bounded_and_given_back(bench):
    go = anyio.Event()
    long = sse(anthropic_stream(["x" * 300] * 20))
    short = sse(STREAM)
    again = anyio.Event()
    scripts = [[WaitFor(go), *long], [WaitFor(again), *short]]
    async with bench(*scripts, resend_max_bytes=2000) as b:
        async with b.asking() as first:
            await b.asked()
            async with b.asking() as second:
                await b.joined()
                go.set()
                assert len(text_of(await first.read())) == 6000
                assert not (await second.read()).complete
        await until(lambda: len(b.watch.outcomes) == 2)
        async with b.asking() as third:
            await b.asked(2)
            async with b.asking() as fourth:
                await b.joined(2)
                again.set()
                assert text_of(await third.read()) == text_of(await fourth.read()) == "Hello."


async def test_it_can_be_switched_off(bench):
    go = anyio.Event()
    async with (
        bench(held(go), held(go), join_resends=False) as b,
        b.asking() as first,
        b.asking() as second,
    ):
        await b.asked(2)
        go.set()
        assert text_of(await first.read()) == text_of(await second.read()) == "Hello."
