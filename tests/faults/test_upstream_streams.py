"""Streams of one upstream that fail, stall or are unusual after their start: rows `M-U`."""

import time

import anyio
import pytest

from plugway.testing import (
    Cut,
    FaultRelay,
    Hold,
    Reset,
    ScriptedUpstream,
    Sleep,
    anthropic_message,
    anthropic_stream,
    assert_valid_stream,
    respond,
    sse,
)
from tests.faults.one_upstream import BROKEN_OFF, ENDS, EVENTS, OVERLOADED, bench, told, transport

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.usefixtures(transport.__name__),
]


# ── death after the start (M-U1 to M-U5) ─────────────────────────────────────────────────────


@pytest.mark.parametrize("end", BROKEN_OFF.values(), ids=list(BROKEN_OFF))
@pytest.mark.parametrize("native", [True, False])
async def test_mu1_death_after_message_start_only_is_a_status(end, native):
    async with bench(sse(EVENTS[:1], end=end), native=native) as b:
        status, kind, _ = told(await b.ask())
    assert (status, kind) == (502, "api_error")


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
@pytest.mark.parametrize("at", range(2, len(EVENTS)))
async def test_mu2_to_mu5_death_after_content_is_a_cut_without_an_end_event(at, end):
    script = sse([*EVENTS[:at], Sleep(0.01)], end=end)
    async with bench(script, native=at % 2 == 0) as b:
        response = await b.ask(model="up/m")
        outcome = await b.outcome()
    assert response.status == 200
    assert not response.complete
    names = [name for name, _ in response.events]
    assert names == [name for name, _ in EVENTS[:at]]
    assert_valid_stream(response.events, complete=False)
    assert outcome.kind == "failed"
    assert outcome.error


@pytest.mark.parametrize("at", range(2, len(EVENTS)))
async def test_a_clean_end_before_message_stop_is_a_cut_too(at):
    async with bench(sse(EVENTS[:at])) as b:
        response = await b.ask()
        outcome = await b.outcome()
    assert not response.complete
    assert [name for name, _ in response.events] == [name for name, _ in EVENTS[:at]]
    assert outcome.kind == "failed"


async def test_mu2_death_at_every_byte_never_looks_complete():
    script = sse(EVENTS)
    head, *chunks = script[:-1]
    body = b"".join(chunks)
    step = max(1, len(body) // 60)
    cuts = list(range(1, len(body), step))
    scripts = [[head + body[:cut], Sleep(0.002), Cut()] for cut in cuts]
    async with bench(*scripts) as b:
        for _ in cuts:
            response = await b.ask(model="up/m")
            if response.status == 200:
                assert not response.complete
                assert ("message_stop", {"type": "message_stop"}) not in response.events
            else:
                assert told(response)[0] == 502


@pytest.mark.parametrize("at", [1, 3, 6, len(EVENTS) - 1])
async def test_a_client_without_streaming_gets_an_error_instead_of_a_partial_reply(at):
    async with bench(sse(EVENTS[:at], end=Cut())) as b:
        status, kind, message = told(await b.ask(stream=False))
    assert (status, kind) == (502, "api_error")
    assert message


@pytest.mark.parametrize("end", [Cut(), Reset()])
async def test_a_complete_response_that_breaks_off_is_an_error(end):
    whole = respond(200, anthropic_message("x" * 1000))[0]
    async with bench([whole[:-100], Sleep(0.01), end]) as b:
        assert told(await b.ask(stream=False))[:2] == (502, "api_error")


# ── errors and silence in the middle (M-U7, M-U8) ────────────────────────────────────────────


@pytest.mark.parametrize("at", range(2, len(EVENTS)))
async def test_mu7_an_error_event_in_the_middle_is_relayed_from_anthropic_and_a_cut_from_others(at):
    script = sse([*EVENTS[:at], Sleep(0.01), OVERLOADED])
    async with bench(script, native=True) as b:
        native = await b.ask(model="up/m")
        assert (await b.outcome()).kind == "failed"
    async with bench(script) as b:
        other = await b.ask(model="up/m")
        outcome = await b.outcome()
    assert native.events[-1] == OVERLOADED
    assert [name for name, _ in other.events] == [name for name, _ in EVENTS[:at]]
    assert not other.complete
    assert outcome.kind == "failed"
    assert "error event (status 529)" in outcome.error


async def test_mu7_an_error_that_comes_with_the_first_content_is_still_a_status():
    async with bench(sse([*EVENTS[:2], OVERLOADED], chunk_sizes=[10**6])) as b:
        assert told(await b.ask()) == (529, "overloaded_error", "`up`: busy")


@pytest.mark.parametrize("at", [2, 4, 7])
async def test_mu8_silence_after_content_is_a_cut(at):
    async with bench(sse(EVENTS[:at], end=Hold()), idle_seconds=0.3, ping_seconds=0.1) as b:
        began = time.monotonic()
        response = await b.ask(model="up/m")
        assert 0.25 < time.monotonic() - began < 5
        with anyio.fail_after(5):
            await b.upstream.requests[0].left.wait()
    assert not response.complete
    names = [name for name, _ in response.events if name != "ping"]
    assert names == [name for name, _ in EVENTS[:at]]
    assert "message_stop" not in names


# ── odd but sound streams (M-U9, M-U13, M-U14) ───────────────────────────────────────────────


@pytest.mark.parametrize("slicer", [1, 3, 64])
@pytest.mark.parametrize("stream", [True, False])
async def test_mu9_and_mu14_a_sliced_and_stuttering_connection_changes_nothing(slicer, stream):
    async with (
        ScriptedUpstream(sse(EVENTS)) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
        bench(url=relay.url) as b,
    ):
        relay.to_client.slicer = slicer
        relay.to_client.jitter = 0.0005
        response = await b.ask(stream, model="scripted-model")
    assert response.complete
    if stream:
        assert response.events == EVENTS
    else:
        content = response.json["content"]
        assert [block["type"] for block in content] == ["thinking", "text", "tool_use"]
        assert content[1]["text"] == "Hello \u00e9."
        assert content[2]["input"] == {"path": "a.txt"}


async def test_mu14_a_slow_connection_loses_nothing():
    text = ["word " * 10] * 40
    async with (
        ScriptedUpstream(sse(anthropic_stream(text))) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
        bench(url=relay.url) as b,
    ):
        relay.to_client.bandwidth = 20_000
        response = await b.ask()
    assert response.complete
    assert_valid_stream(response.events)
    deltas = [d["delta"]["text"] for n, d in response.events if n == "content_block_delta"]
    assert deltas == text


@pytest.mark.parametrize(
    "usage",
    [{}, {"input_tokens": -5, "output_tokens": -1}, {"input_tokens": 2**70, "output_tokens": "9"}],
    ids=["missing", "negative", "absurd"],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_mu13_an_odd_usage_affects_neither_the_reply_nor_the_counters(usage, stream):
    script = (
        sse(anthropic_stream("Hello.", usage=usage))
        if stream
        else respond(200, anthropic_message("Hello.", usage=usage))
    )
    async with bench(script, native=True) as b:
        response = await b.ask(stream)
        outcome = await b.outcome()
    assert (response.status, response.complete) == (200, True)
    assert outcome.kind == "completed"
    assert 0 <= outcome.usage.input_tokens < 2**40
    assert 0 <= outcome.usage.output_tokens < 2**40
