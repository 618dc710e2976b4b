"""The test kit itself: what it sends, what it notices, what it refuses to call valid."""

import asyncio
import importlib
import json
import mmap
import socket
import sys
import time

import anyio
import pytest

import plugway.testing
import plugway_testing
from plugway.testing import (
    ERRORS,
    Cut,
    Hold,
    Reset,
    ScriptedUpstream,
    Sleep,
    WaitFor,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    assert_valid_stream,
    parse_sse,
    respond,
    sse,
)
from plugway_testing._client import RawClient, messages_request
from plugway_testing._leak import LeakCheck
from plugway_testing._relay import FaultRelay
from plugway_testing._wire import DONE, ChunkedDecoder

pytestmark = pytest.mark.anyio

ASK = messages_request({"model": "m", "messages": []}, token="t")


async def ask(url, data=ASK, **options):
    async with RawClient(url, **options) as client:
        await client.send(data)
        return await client.read()


# Its two names


async def test_tests_find_the_whole_kit_by_the_name_of_the_kernel():
    assert plugway.testing.__all__ == plugway_testing.__all__
    for name in plugway_testing.__all__:
        assert getattr(plugway.testing, name) is getattr(plugway_testing, name)


async def test_without_the_package_of_the_kit_its_name_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "plugway.testing")
    monkeypatch.setitem(sys.modules, "plugway_testing", None)
    with pytest.raises(ImportError, match=r"pip install \./plugins/testing"):
        importlib.import_module("plugway.testing")


async def test_what_the_kit_itself_lacks_is_not_taken_for_the_kit(monkeypatch):
    for name in ("plugway.testing", "plugway_testing", "plugway_testing._leak"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ModuleNotFoundError, match="psutil"):
        importlib.import_module("plugway.testing")


# The scripted upstream


async def test_answers_come_in_the_order_of_the_scripts_on_one_kept_connection():
    async with ScriptedUpstream(respond(200, {"n": 1}), respond(404, b"two")) as upstream:
        async with RawClient(upstream.url) as client:
            for status, body in ((200, b'{"n": 1}'), (404, b"two")):
                await client.send(ASK)
                response = await client.read()
                assert (response.status, response.body, response.complete) == (status, body, True)
        assert [request.connection for request in upstream.requests] == [1, 1]


async def test_a_request_is_recorded_as_it_was_written():
    lines = [("X-Odd", "1"), ("x-odd", "2")]
    async with ScriptedUpstream(respond(200)) as upstream:
        await ask(upstream.url, messages_request(b"\x00\xff", "t", lines, path="/v1/messages?b=1"))
        request = upstream.requests[0]
        assert (request.method, request.path) == ("POST", "/v1/messages?b=1")
        assert request.headers[-2:] == lines
        assert request.body == b"\x00\xff"
        assert request.header("AUTHORIZATION") == "Bearer t"


async def test_a_chunked_request_is_put_together():
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    async with ScriptedUpstream(respond(200)) as upstream, RawClient(upstream.url) as client:
        await client.send(head + b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n", piece=3)
        assert (await client.read()).status == 200
        assert upstream.requests[0].body == b"hello!"


async def test_a_second_request_sent_early_is_answered_after_the_first():
    upstream = ScriptedUpstream(respond(200, b"1"), respond(200, b"2"))
    async with upstream, RawClient(upstream.url) as client:
        await client.send(ASK + ASK)
        bodies = []
        for _ in range(2):
            bodies.append((await client.read()).body)
            client.response = None
        assert bodies == [b"1", b"2"]


@pytest.mark.parametrize("when", ["before the answer", "in the stream"])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_peer_that_leaves_while_the_answer_is_pending_is_noticed_at_once(when, how):
    script = [Hold()] if when == "before the answer" else sse([b"data: {}\n\n", Hold()])
    async with ScriptedUpstream(script) as upstream:
        client = RawClient(upstream.url)
        async with client:
            await client.send(ASK)
            request = await upstream.wait_for_request()
            if when == "in the stream":
                await client.read_until(b"data")
            left = time.monotonic()
            client.abort() if how == "rst" else client.close()
            with anyio.fail_after(5):
                await request.left.wait()
        assert request.closed_at is not None
        assert request.closed_at - left < 0.05


async def test_a_peer_that_stays_to_the_end_is_not_said_to_have_left():
    async with ScriptedUpstream(respond(200)) as upstream:
        await ask(upstream.url)
        assert upstream.requests[0].closed_at is None


async def test_a_cut_ends_the_body_without_its_final_chunk():
    async with ScriptedUpstream(sse(anthropic_stream()[:3], end=Cut())) as upstream:
        response = await ask(upstream.url)
    assert (response.ending, response.complete, len(response.events)) == ("fin", False, 3)


async def test_a_reset_comes_after_what_was_said_before_it():
    async with ScriptedUpstream(sse(anthropic_stream()[:3], end=Reset())) as upstream:
        response = await ask(upstream.url)
    assert (response.ending, response.complete, len(response.events)) == ("reset", False, 3)


async def test_waiting_for_an_event_holds_the_answer_until_it_is_set():
    go = anyio.Event()
    upstream = ScriptedUpstream([WaitFor(go), *respond(200, b"x")])
    async with upstream, RawClient(upstream.url) as client:
        await client.send(ASK)
        await upstream.wait_for_request()
        with pytest.raises(TimeoutError):
            await client.read_head(seconds=0.05)
        go.set()
        assert (await client.read()).body == b"x"


# Answers


@pytest.mark.parametrize("sizes", [None, [1], [7, 3], [10_000]])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_stream_says_the_same_in_any_chunks(sizes, chunked):
    events = anthropic_stream(
        ["Grüße, ", "Welt 🌍"], thinking="hm", tool_calls=[("Read", {"path": "ä"}), ("Ls", {})]
    )
    async with ScriptedUpstream(sse(events, chunked=chunked, chunk_sizes=sizes)) as upstream:
        response = await ask(upstream.url)
    assert response.complete
    assert response.events == events
    assert_valid_stream(response.events)


async def test_delays_space_the_events_out():
    async with ScriptedUpstream(sse(anthropic_stream()[:3], delay=0.03)) as upstream:
        response = await ask(upstream.url)
    assert response.arrivals[-1][0] - response.arrivals[0][0] > 0.05


def test_a_stream_adds_up_to_the_message_of_the_same_arguments():
    arguments = {"thinking": "hm", "tool_calls": [("Read", {"path": "a"})], "model": "m"}
    message = anthropic_message("Hi", **arguments)
    events = anthropic_stream("Hi", **arguments)
    started = [data["content_block"] for name, data in events if name == "content_block_start"]
    pieces = [data["delta"] for name, data in events if name == "content_block_delta"]
    assert [block["type"] for block in started] == [b["type"] for b in message["content"]]
    assert "".join(p.get("text", "") for p in pieces) == "Hi"
    written = "".join(p.get("partial_json", "") for p in pieces)
    assert json.loads(written) == message["content"][2]["input"]
    assert events[-2][1]["delta"]["stop_reason"] == message["stop_reason"] == "tool_use"
    assert events[-2][1]["usage"] == message["usage"]


async def test_an_error_comes_in_the_documented_envelope():
    script = anthropic_error(529, "overloaded_error", "Overloaded", {"retry-after": "1"})
    async with ScriptedUpstream(script) as upstream:
        response = await ask(upstream.url)
    assert (response.status, response.header("retry-after")) == (529, "1")
    assert response.json["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert response.json["request_id"] == response.header("request-id")


@pytest.mark.parametrize("name", ERRORS)
async def test_every_canned_error_can_be_sent(name):
    async with ScriptedUpstream(ERRORS[name].script()) as upstream:
        response = await ask(upstream.url)
    assert (response.status, response.body) == (ERRORS[name].status, ERRORS[name].body)
    assert response.complete


# The relay


async def test_a_relay_without_faults_changes_nothing():
    events = anthropic_stream()
    async with (
        ScriptedUpstream(sse(events)) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
    ):
        response = await ask(relay.url)
        assert (response.events, response.complete) == (events, True)


@pytest.mark.parametrize(
    ("fault", "value", "at_least"),
    [("latency", 0.08, 0.08), ("bandwidth", 4000, 0.15), ("slicer", 1, 0)],
)
async def test_slow_directions_lose_and_reorder_nothing(fault, value, at_least):
    events = anthropic_stream()
    async with (
        ScriptedUpstream(sse(events)) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
    ):
        setattr(relay.to_client, fault, value)
        relay.to_client.jitter = 0.01
        start = time.monotonic()
        response = await ask(relay.url)
        assert time.monotonic() - start >= at_least
        assert (response.events, response.complete) == (events, True)


async def test_the_relay_closes_after_the_bytes_that_are_allowed():
    async with (
        ScriptedUpstream(sse(anthropic_stream())) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
    ):
        relay.to_client.limit_data = 400
        response = await ask(relay.url)
        assert (response.complete, response.ending) == (False, "fin")
        assert len(response.head) + len(response.body) < 400


async def test_the_relay_swallows_and_then_closes():
    async with (
        ScriptedUpstream() as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
        RawClient(relay.url) as client,
    ):
        relay.to_target.timeout = 0.05
        await client.send(ASK)
        assert await client.wait_closed() == "fin"
        assert upstream.requests == []


async def test_the_relay_holds_an_end_back():
    async with (
        ScriptedUpstream(sse([], end=Cut())) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
    ):
        relay.to_client.slow_close = 0.08
        start = time.monotonic()
        assert (await ask(relay.url)).ending == "fin"
        assert time.monotonic() - start >= 0.08


async def test_a_reset_of_the_relay_reaches_both_ends():
    async with (
        ScriptedUpstream([Hold()]) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
        RawClient(relay.url) as client,
    ):
        await client.send(ASK)
        request = await upstream.wait_for_request()
        relay.reset_peer()
        assert await client.wait_closed() == "reset"
        with anyio.fail_after(5):
            await request.left.wait()


async def test_a_client_that_leaves_is_noticed_through_the_relay():
    async with (
        ScriptedUpstream([Hold()]) as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
    ):
        async with RawClient(relay.url) as client:
            await client.send(ASK)
            request = await upstream.wait_for_request()
            client.abort()
        with anyio.fail_after(5):
            await request.left.wait()


async def test_a_relay_that_is_down_refuses_until_it_is_up_again():
    async with (
        ScriptedUpstream() as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
    ):
        await relay.down()
        with pytest.raises(ConnectionRefusedError):
            await ask(relay.url)
        await relay.up()
        assert (await ask(relay.url)).status == 200


# The client


async def test_a_request_may_come_byte_by_byte():
    async with ScriptedUpstream(respond(200)) as upstream, RawClient(upstream.url) as client:
        await client.send(ASK, piece=1)
        assert (await client.read()).status == 200
        assert upstream.requests[0].json == {"model": "m", "messages": []}


async def test_reading_stops_at_the_count_or_the_pattern():
    script = [*respond(200, b"", {"content-length": "10"}), b"01234", Sleep(0.02), b"56789"]
    async with ScriptedUpstream(script) as upstream, RawClient(upstream.url) as client:
        await client.send(ASK)
        assert (await client.read_bytes(3)).body == b"01234"
        assert (await client.read_until(b"78")).body == b"0123456789"
        assert client.response.complete


async def test_half_closing_leaves_the_client_listening():
    async with ScriptedUpstream() as upstream, RawClient(upstream.url) as client:
        client.finish()
        assert await client.wait_closed() == "fin"


async def test_a_server_that_says_nothing_is_an_error_not_an_answer():
    async with ScriptedUpstream([Cut()]) as upstream, RawClient(upstream.url) as client:
        await client.send(ASK)
        with pytest.raises(ConnectionError, match="before a head"):
            await client.read_head()


async def test_a_tiny_window_makes_the_server_wait():
    said = []
    flood = [*respond(200, b"", {"content-length": "100000000"}), *[b"x" * 65536] * 200]

    class Said(list):
        def __iter__(self):
            for step in flood:
                said.append(step)
                yield step

    async with ScriptedUpstream(Said()) as upstream:
        async with RawClient(upstream.url, receive_buffer=4096) as client:
            await client.send(ASK)
            await client.read_head()
            await asyncio.sleep(0.2)
            assert len(said) < 200
        with anyio.fail_after(5):
            await upstream.requests[0].left.wait()


async def test_a_malformed_chunk_is_reported_and_not_read_on():
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with ScriptedUpstream([head + b"2\r\nhixx"]) as upstream:
        response = await ask(upstream.url)
    assert "CR LF" in response.malformed
    assert not response.complete


async def test_informational_answers_are_passed_over_and_heads_have_no_body():
    script = [b"HTTP/1.1 100 Continue\r\n\r\n", *respond(200, b"", {"content-length": "5"})]
    async with ScriptedUpstream(script) as upstream:
        response = await ask(upstream.url, b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (response.status, response.body, response.complete) == (200, b"", True)


# Leaks


async def test_what_is_put_back_is_no_leak():
    async with (
        LeakCheck(),
        ScriptedUpstream() as upstream,
        FaultRelay("127.0.0.1", upstream.port) as relay,
    ):
        await asyncio.gather(*(ask(relay.url) for _ in range(20)))


async def test_what_is_left_behind_is_named():
    check = LeakCheck(settle=0.05)
    async with check:
        task = asyncio.create_task(asyncio.sleep(60), name="forgotten")
        left, right = socket.socketpair()
        with pytest.raises(AssertionError) as caught:
            await check.settle()
        task.cancel()
        left.close()
        right.close()
    text = str(caught.value)
    assert "file descriptors" in text
    assert "forgotten sleep at" in text


async def test_an_error_inside_is_not_hidden_by_the_check():
    with pytest.raises(ZeroDivisionError):
        async with LeakCheck(settle=0):
            raise ZeroDivisionError


async def test_memory_that_stays_is_reported():
    check = LeakCheck(settle=0.02, rss_slack=2**20)
    await (
        check.__aenter__()
    )  # and no exit: what else this process frees by then is not the question
    with mmap.mmap(-1, 16 * 2**20) as kept:  # a `bytes` might get pages that are there already
        kept.write(b"x" * len(kept))
        with pytest.raises(AssertionError, match="memory"):
            await check.settle()


# The wire


@pytest.mark.parametrize(
    "data",
    [
        b'\xef\xbb\xbfevent: a\ndata: {"x": 1}\n\n',
        b'event: a\r\ndata: {"x": 1}\r\n\r\n',
        b'event: a\rdata: {"x": 1}\r\r',
        b': hello\nevent:a\ndata:{"x":\ndata:1}\nid: 7\n\n',
        b'event: a\ndata: {"x": 1}\n\nevent: b\ndata: {"x": 2}\n',
        b'event: lost\n\nevent: a\ndata: {"x": 1}\n\n',
    ],
)
def test_every_spelling_of_an_event_is_read(data):
    assert parse_sse(data) == [("a", {"x": 1})]


def test_line_ends_that_are_legal_in_json_do_not_end_a_line():
    assert parse_sse('data: {"x": "\u2028\x0b"}\n\n'.encode().replace(b"\x0b", b"")) == [
        ("message", {"x": "\u2028"})
    ]


def test_the_end_of_a_chat_stream_is_known_and_other_text_refused():
    assert parse_sse(b"data: [DONE]\n\n") == [DONE]
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_sse(b"data: 7\n\n")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_chunks_are_decoded_in_any_pieces(size):
    data = b"5\r\nhello\r\nA;ext\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\nnext"
    decoder = ChunkedDecoder()
    body = b"".join(decoder.feed(data[i : i + size]) for i in range(0, len(data), size))
    assert (body, decoder.done, decoder.rest) == (b"hello0123456789", True, b"next")


@pytest.mark.parametrize("data", [b"x\r\n", b"-1\r\n", b"\r\n", b"1\r\nab\r\n"])
def test_malformed_chunks_are_refused(data):
    with pytest.raises(ValueError, match="chunk"):
        ChunkedDecoder().feed(data)


def valid():
    return anthropic_stream("Hi", thinking="hm", tool_calls=[("Read", {"path": "a"})])


def test_pings_and_unknown_events_are_legal_where_they_may_come():
    ping, odd = ("ping", {"type": "ping"}), ("odd", {"type": "odd"})
    events = valid()
    assert_valid_stream([ping, *events[:3], ping, odd, *events[3:]])


@pytest.mark.parametrize("length", range(len(valid())))
def test_every_beginning_is_valid_and_none_is_complete(length):
    assert_valid_stream(valid()[:length], complete=False)
    with pytest.raises(AssertionError, match="without `message_stop`"):
        assert_valid_stream(valid()[:length])


def test_a_stream_may_end_in_an_error_only_if_it_need_not_be_complete():
    error = ("error", {"type": "error", "error": {"type": "api_error", "message": "x"}})
    assert_valid_stream([*valid()[:4], error], complete=False)
    with pytest.raises(AssertionError, match="ended in an `error`"):
        assert_valid_stream([*valid()[:4], error])


def changed(position, **fields):
    events = valid()
    name, data = events[position]
    events[position] = (name, data | fields)
    return events


def without(*positions):
    return [event for position, event in enumerate(valid()) if position not in positions]


# Positions: 0 start, 1-4 thinking, 5-7 text, 8-12 tool call, 13 message_delta, 14 message_stop.
BROKEN = {
    "nothing may follow": [*valid(), ("ping", {"type": "ping"})],
    "comes before": without(0),
    "a second `message_start`": [valid()[0], *valid()],
    "`data.type` is": changed(3, type="text_delta"),
    "without a signature": without(3),
    "after the signature": [*valid()[:4], *valid()[2:]],
    "a block is still open": without(4),
    "no block is open": without(5),
    "index 7": changed(5, index=7),
    "index 0, but 1 is open": changed(6, index=0),
    "without text": without(6),
    "in a block of type 'text'": changed(6, delta={"type": "thinking_delta", "thinking": "x"}),
    "tool input is not JSON": without(11),
    "input` is not {}": changed(
        8, content_block={"type": "tool_use", "id": "a", "name": "b", "input": {"x": 1}}
    ),
    "no `message_delta`": without(13),
    "`usage.output_tokens`": changed(13, usage={"output_tokens": None}),
    "after `message_delta`": [*valid()[:14], ("content_block_start", valid()[5][1] | {"index": 3})],
    "no content at all": [valid()[0], *anthropic_stream("x")[-2:]],
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_stream_is_refused_with_the_reason(problem):
    with pytest.raises(AssertionError) as caught:
        assert_valid_stream(BROKEN[problem])
    assert problem in str(caught.value)
