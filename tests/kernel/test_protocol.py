import json
import logging
import resource
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from plugway.http.server import serving
from plugway_http.wire import WireLimits

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    """The loop that serves in production."""
    return ("asyncio", {"use_uvloop": True})


SHORT = WireLimits(head_seconds=0.3, linger_seconds=0.3, stall_seconds=0.5)
HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
NEXT = b"GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Inside:
    """An application that records requests and answers as the path says."""

    def __init__(self):
        self.requests = []
        self.scopes = []
        self.called = anyio.Event()
        self.left = anyio.Event()
        self.sent = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        self.scopes.append(scope)
        self.called.set()
        answer = getattr(self, scope["path"].strip("/").replace("/", "_"), self.echo)
        await answer(scope, receive, send)

    async def echo(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            body += message["body"]
            more = message["more_body"]
        self.requests.append((scope["method"], scope["path"], body))
        await self.reply(send, body)

    async def early(self, scope, receive, send):
        """Answers without looking at the body."""
        self.requests.append((scope["method"], scope["path"], None))
        await self.reply(send, b"early")

    async def closing(self, scope, receive, send):
        """Answers without looking at the body, and closes."""
        await self.reply(send, b"early", (b"connection", b"close"))

    async def large(self, scope, receive, send):
        """Answers with more than the kernel takes at once, and closes."""
        await self.reply(send, bytes(8_000_000), (b"connection", b"close"))

    async def cut(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        scope["extensions"]["plugway"].cut()
        await send({"type": "http.response.body", "body": b"after the cut", "more_body": True})

    async def cut_before(self, scope, receive, send):
        scope["extensions"]["plugway"].cut()

    async def cut_late(self, scope, receive, send):
        await self.echo(scope, receive, send)
        scope["extensions"]["plugway"].cut()

    async def whole(self, scope, receive, send):
        """Answers with the body in one go, or says that it is not here."""
        found = scope["extensions"]["plugway"].whole_body()
        if found is None:
            await self.echo(scope, receive, send)
            return
        self.requests.append((scope["method"], scope["path"], found))
        lines = (("content-length", str(len(found))), ("x-from", "whole"))
        await scope["extensions"]["plugway"].whole(200, lines, found)

    async def forged(self, scope, receive, send):
        await scope["extensions"]["plugway"].whole(200, (("x", "a\r\nset-cookie: b"),), b"")

    async def twice(self, scope, receive, send):
        for _ in range(2):
            await scope["extensions"]["plugway"].whole(200, (("content-length", "0"),), b"")

    async def flood(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2000):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            self.sent += 1
            await anyio.lowlevel.checkpoint()
            if (await poll(receive))["type"] == "http.disconnect":
                break
        self.left.set()

    async def reply(self, send, body, *headers):
        length = (b"content-length", b"%d" % len(body))
        start = {"type": "http.response.start", "status": 200, "headers": [length, *headers]}
        await send(start)
        await send({"type": "http.response.body", "body": body})


async def poll(receive):
    with anyio.move_on_after(0):
        return await receive()
    return {"type": "nothing"}


class Wire:
    def __init__(self, port, inside):
        self.port = port
        self.inside = inside

    @asynccontextmanager
    async def connect(self):
        with anyio.fail_after(5):
            async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
                yield stream

    async def ask(self, *segments):
        """Everything that comes back until the server closes."""
        async with self.connect() as stream:
            for segment in segments:
                with suppress(anyio.BrokenResourceError):
                    await stream.send(segment)
                if len(segments) > 1:
                    await anyio.sleep(0.001)
            return await rest(stream)


async def rest(stream):
    received = b""
    with suppress(anyio.BrokenResourceError):
        async for chunk in stream:
            received += chunk
    return received


async def drip(stream, data):
    for byte in data:
        await stream.send(bytes([byte]))
        await anyio.sleep(0.01)


async def until(stream, end):
    received = b""
    while not received.endswith(end):
        received += await stream.receive()
    return received


@pytest.fixture
async def wire():
    inside = Inside()
    async with serving(inside, limits=SHORT, drain_seconds=0) as port:
        yield Wire(port, inside)


def assert_refused(answer, status):
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert "connection: close" in lines
    assert "content-type: application/json" in lines
    error = json.loads(body)
    assert error["type"] == "error"
    assert f"request-id: {error['request_id']}" in lines
    return error["error"]


HOSTILE = {
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\nAccept: x\r\n\r\n"),
    "no header at all": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "absolute form": (400, b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "authority form": (400, b"GET localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "asterisk form": (400, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /\r\n"),
    "HTTP/0.9 with a bare LF": (400, b"GET /\n"),
    "HTTP/1.0 without host": (400, b"GET / HTTP/1.0\r\n\r\n"),
    "HTTP/2.0": (400, b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"),
    "HTTP/1.2": (400, b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n"),
    "lower-case version": (400, b"GET / http/1.1\r\nHost: localhost\r\n\r\n"),
    "tab for space": (400, b"GET\t/\tHTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "a verb of another service": (405, b"PROPFIND / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "connect": (405, b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a verb that no standard has": (400, b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "space before colon": (400, b"GET / HTTP/1.1\r\nHost : localhost\r\nHost: localhost\r\n\r\n"),
    "space in a name": (400, HEAD + b"X Y: z\r\n\r\n"),
    "line without colon": (400, HEAD + b"Nonsense\r\n\r\n"),
    "empty name": (400, HEAD + b": x\r\n\r\n"),
    "obs-fold": (400, HEAD + b"X: a\r\n b\r\n\r\n"),
    "obs-fold with tab": (400, HEAD + b"X: a\r\n\tb\r\n\r\n"),
    "folded host": (400, b"GET / HTTP/1.1\r\nX: a\r\n Host: localhost\r\n\r\n"),
    "bare LF": (400, b"GET / HTTP/1.1\nHost: localhost\n\n"),
    "one bare LF": (400, HEAD + b"X: a\nY: b\r\n\r\n"),
    "bare LF at the end": (400, HEAD + b"X: a\n\n"),
    "bare CR": (400, HEAD + b"X: a\rY: b\r\n\r\n"),
    "NUL in a value": (400, HEAD + b"X: a\0b\r\n\r\n"),
    "NUL in the path": (400, b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "control character": (400, HEAD + b"X: a\x01b\r\n\r\n"),
    "DEL": (400, HEAD + b"X: a\x7fb\r\n\r\n"),
    "non-ASCII path": (400, b"GET /\xe9 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "length and chunked": (
        400,
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "two lengths": (400, HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"),
    "the same length twice": (400, HEAD + b"Content-Length: 4\r\ncontent-length: 4\r\n\r\nabcd"),
    "list of lengths": (400, HEAD + b"Content-Length: 4, 4\r\n\r\nabcd"),
    "plus": (400, HEAD + b"Content-Length: +5\r\n\r\nabcde"),
    "minus": (400, HEAD + b"Content-Length: -1\r\n\r\n"),
    "hexadecimal length": (400, HEAD + b"Content-Length: 0x5\r\n\r\nabcde"),
    "underscore": (400, HEAD + b"Content-Length: 1_0\r\n\r\nabcdefghij"),
    "empty length": (400, HEAD + b"Content-Length:\r\n\r\n"),
    "huge length": (400, HEAD + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "unknown coding": (400, HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "coding before chunked": (400, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "identity": (400, HEAD + b"Transfer-Encoding: identity\r\n\r\n"),
    "chunked twice": (
        400,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "a coding, and chunked on a line of its own": (
        400,
        HEAD + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunked in HTTP/1.0": (
        400,
        b"POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "long header": (431, HEAD + b"X: " + b"a" * 65 * 1024 + b"\r\n\r\n"),
    "long header without end": (431, HEAD + b"X: " + b"a" * 2**20),
    "10,000 headers": (431, HEAD + b"a:b\r\n" * 10_000 + b"\r\n"),
    "101 headers": (431, HEAD + b"a:b\r\n" * 100 + b"\r\n"),
    "1 MiB of URL": (414, b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "9 KiB of URL": (414, b"GET /" + b"a" * 9216 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
}


@pytest.mark.parametrize(("status", "request_"), HOSTILE.values(), ids=HOSTILE)
async def test_a_doubtful_head_is_refused_and_what_follows_is_never_executed(
    wire, status, request_
):
    assert_refused(await wire.ask(request_ + NEXT), status)
    assert not wire.inside.scopes


@pytest.mark.parametrize("name", ["obs-fold", "two lengths", "bare LF", "plus", "TLS hello"])
async def test_a_doubtful_head_is_refused_however_it_is_split(wire, name):
    status, request = HOSTILE[name]
    segments = [request[at : at + 7] for at in range(0, len(request), 7)]
    assert_refused(await wire.ask(*segments, NEXT), status)
    assert not wire.inside.scopes


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "space": b"3 \r\nabc\r\n0\r\n\r\n",
    "bad terminator": b"3\r\nabcX\r\n0\r\n\r\n",
    "longer than its size": b"3\r\nabcdef\r\n0\r\n\r\n",
    "bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "bare LF after the chunk": b"3\r\nabc\n0\r\n\r\n",
    "bare LF in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "bare CR in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "endless extension": b"3;" + b"a" * 10_000,
}


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_doubtful_chunk_is_refused_and_what_follows_is_never_executed(wire, body):
    assert_refused(await wire.ask(CHUNKED + body + NEXT), 400)
    assert not wire.inside.requests


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1000])
async def test_chunks_mean_the_same_however_they_are_split(wire, step):
    body = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n"
    async with wire.connect() as stream:
        sent = CHUNKED + body + NEXT
        for at in range(0, len(sent), step):
            await stream.send(sent[at : at + step])
        await until(stream, b"content-length: 0\r\n\r\n")
    assert [found for *_, found in wire.inside.requests] == [b"abc0123456789", b""]
    assert all(name != b"t" for name, _ in wire.inside.scopes[0]["headers"])


async def test_a_trailer_ends_no_connection(wire):
    assert_refused(await wire.ask(CHUNKED + b"0\r\nConnection: close\r\n\r\n" + NEXT), 400)


async def test_what_is_wrong_behind_a_request_is_told_after_its_answer(wire):
    bad = CHUNKED + b"ZZ\r\nabc\r\n"
    answer = await wire.ask(HEAD.replace(b"POST", b"GET") + b"\r\n" + bad)
    first, _, second = answer.partition(b"content-length: 0\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert_refused(second, 400)


@pytest.mark.parametrize("trailer", [b"T: vvvvvvvv\r\n" * 1000, b"T: " + b"v" * 400_000])
async def test_a_trailer_is_bounded(wire, trailer):
    assert_refused(await wire.ask(CHUNKED + b"0\r\n" + trailer), 431)


@pytest.mark.parametrize("step", [1, 10, 10_000])
async def test_requests_on_one_connection_are_answered_in_order(wire, step):
    requests = (
        HEAD + b"Content-Length: 5\r\n\r\nfirst" + CHUNKED + b"6\r\nsecond\r\n0\r\n\r\n" + NEXT
    )
    async with wire.connect() as stream:
        for at in range(0, len(requests), step):
            await stream.send(requests[at : at + step])
        received = await until(stream, b"content-length: 0\r\n\r\n")
    assert received.count(b"HTTP/1.1 200 OK") == 3
    post = ("POST", "/v1/messages")
    assert wire.inside.requests == [
        (*post, b"first"),
        (*post, b"second"),
        ("GET", "/second", b""),
    ]


WHOLE = HEAD.replace(b"/v1/messages", b"/whole")


@pytest.mark.parametrize("step", [1, 10, 10_000])
async def test_answers_in_one_go_keep_their_order(wire, step):
    ask = WHOLE + b"Content-Length: 5\r\n\r\n"
    requests = ask + b"first" + ask + b"again" + WHOLE + b"\r\n" + NEXT
    async with wire.connect() as stream:
        for at in range(0, len(requests), step):
            await stream.send(requests[at : at + step])
        received = await until(stream, b"\r\n\r\n")
        while received.count(b"HTTP/1.1 200 OK") < 4 or not received.endswith(b"\r\n\r\n"):
            received += await stream.receive()
    assert [body for *_, body in wire.inside.requests] == [b"first", b"again", b"", b""]
    assert received.index(b"first") < received.index(b"again")


async def test_a_body_that_is_not_all_here_is_received(wire):
    async with wire.connect() as stream:
        await stream.send(WHOLE + b"Content-Length: 5\r\n\r\nfir")
        await wire.inside.called.wait()
        await anyio.sleep(0.02)
        await stream.send(b"st")
        answer = await until(stream, b"first")
    assert b"x-from" not in answer


async def test_a_body_that_waits_to_be_asked_for_is_received(wire):
    async with wire.connect() as stream:
        await stream.send(WHOLE + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nfirst")
        answer = await until(stream, b"first")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


async def test_a_wish_for_100_continue_means_nothing_in_http_1_0(wire):
    head = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = await wire.ask(head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("line", [b"Connection: close\r\n", b""], ids=["close", "HTTP/1.0"])
async def test_an_answer_in_one_go_closes_where_it_is_the_last(wire, line):
    head = WHOLE if line else WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = await wire.ask(head + line + b"Content-Length: 2\r\n\r\n{}")
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b"x-from: whole\r\nconnection: close\r\n\r\n{}")


async def test_no_line_can_be_forged_into_an_answer_in_one_go(wire):
    answer = await wire.ask(
        HEAD.replace(b"/v1/messages", b"/forged")
        + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer


async def test_only_the_first_answer_counts(wire):
    two = HEAD.replace(b"/v1/messages", b"/twice") + b"Content-Length: 2\r\n\r\n{}"
    async with wire.connect() as stream:
        await stream.send(two + NEXT)
        received = await until(stream, b"\r\n\r\n")
        while received.count(b"HTTP/1.1 200 OK") < 2:
            received += await stream.receive()
        await stream.send(WHOLE + b"Content-Length: 5\r\n\r\nagain")
        received += await until(stream, b"again")
    assert received.count(b"HTTP/1.1 200 OK") == 3


async def test_what_is_sent_ahead_of_an_answer_is_bounded(wire):
    async with wire.connect() as stream:
        await stream.send(b"POST /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.receive()
        await stream.send(b"a" * 500_000)
        await rest(stream)
    with anyio.fail_after(5):
        await wire.inside.left.wait()


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_an_upgrade_is_ignored_and_the_request_served(wire, protocol):
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\nContent-Length: 2\r\n\r\n{}"
    async with wire.connect() as stream:
        await stream.send(HEAD + upgrade)
        answer = await until(stream, b"\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_silent_connection_is_closed(wire):
    assert await wire.ask() == b""


async def test_a_dripping_head_is_closed(wire):
    async with wire.connect() as stream:
        with pytest.raises(anyio.BrokenResourceError):
            await drip(stream, HEAD * 10)
    assert not wire.inside.scopes


async def test_a_later_head_has_a_deadline_of_its_own(wire):
    async with wire.connect() as stream:
        await stream.send(NEXT)
        await until(stream, b"\r\n\r\n")
        await stream.send(b"GET")
        assert await rest(stream) == b""


async def test_200_half_open_connections_are_closed_and_others_served_meanwhile(wire):
    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(wire.ask, *([HEAD[:number]] if number else []))
        await anyio.sleep(0.05)
        start = anyio.current_time()
        await wire.ask(NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert anyio.current_time() - start < 5


async def test_64_mib_of_header_cost_no_memory_and_are_closed_at_once(wire):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    block = b"a" * 2**20
    async with wire.connect() as stream:
        start = anyio.current_time()
        await stream.send(HEAD + b"X: ")
        async with anyio.create_task_group() as tasks:

            async def push():
                with suppress(anyio.BrokenResourceError):
                    for _ in range(64):
                        await stream.send(block)

            tasks.start_soon(push)
            answer = await rest(stream)
            assert anyio.current_time() - start < 5
    assert_refused(answer, 431)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


async def test_an_idle_connection_is_kept_for_the_next_request():
    async with serving(Inside(), limits=SHORT, keep_alive_seconds=2) as port:
        wire = Wire(port, None)
        async with wire.connect() as stream:
            for _ in range(2):
                await stream.send(NEXT)
                await until(stream, b"\r\n\r\n")
                await anyio.sleep(0.4)  # longer than a head may take
            start = anyio.current_time()
            assert await rest(stream) == b""
            assert 0.3 < anyio.current_time() - start < 5


# ---- answers before the end of the request


async def test_a_connection_survives_an_answer_that_came_before_the_body(wire):
    async with wire.connect() as stream:
        await stream.send(b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        await until(stream, b"early")
        await stream.send(b"the body!" + NEXT)
        await until(stream, b"content-length: 0\r\n\r\n")
        await anyio.sleep(0.4)  # longer than it may linger
        await stream.send(NEXT)
        await until(stream, b"content-length: 0\r\n\r\n")


async def test_a_body_that_goes_on_after_the_answer_is_not_read_for_ever(wire):
    head = b"POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n"
    async with wire.connect() as stream:
        await stream.send(head)
        await until(stream, b"early")
        with pytest.raises(anyio.BrokenResourceError):
            await drip(stream, b"x" * 200)


async def test_a_client_that_still_sends_can_read_an_answer_that_closes(wire):
    head = b"POST /closing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n"
    assert (await wire.ask(head + bytes(30_000_000))).endswith(b"early")


@pytest.mark.parametrize("path", [b"early", b"closing"])
async def test_a_client_that_sends_on_for_longer_than_is_lingered_can_read_its_answer(path):
    head = b"POST /%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" % path
    limits = WireLimits(linger_seconds=2)
    async with (
        serving(Inside(), limits=limits, drain_seconds=0) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(head)
        for _ in range(20):
            await stream.send(bytes(250_000))
            await anyio.sleep(0.12)
        with anyio.fail_after(5):
            answer = await stream.receive() + (await rest(stream) if path != b"early" else b"")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"early")


@pytest.mark.parametrize("line", [b"", b"Connection: close\r\n"])
async def test_a_client_that_sends_further_requests_can_read_an_answer_that_closes(wire, line):
    head = b"GET /closing HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % line
    for segments in ([head + NEXT * 100_000], [head, *[NEXT * 2_000] * 50]):
        answer = await wire.ask(*segments)
        assert answer.endswith(b"early")
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_stop_waits_for_no_client_that_keeps_its_connection():
    inside, limits = Inside(), WireLimits(linger_seconds=1_000)
    with anyio.fail_after(10):
        async with serving(inside, limits=limits, drain_seconds=1_000) as port:
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(HEAD + b"Content-Length: 5\r\n\r\nhel")
            await inside.called.wait()
            await stream.send(b"lo")
        assert (await rest(stream)).endswith(b"hello")
        await stream.aclose()


async def test_a_client_that_reads_more_slowly_than_is_lingered_gets_all_of_an_answer_that_closes():
    limits = WireLimits(linger_seconds=0.1)
    async with (
        serving(Inside(), limits=limits, drain_seconds=0) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await anyio.sleep(0.7)  # longer than it lingers in all
        with anyio.fail_after(5):
            answer = await rest(stream)
    assert len(answer.partition(b"\r\n\r\n")[2]) == 8_000_000


async def test_an_error_in_a_body_after_the_answer_began_cuts(wire):
    async with wire.connect() as stream:
        await stream.send(CHUNKED.replace(b"/v1/messages", b"/flood"))
        await stream.receive()
        await stream.send(b"nonsense\r\n")
        assert b"HTTP/1.1 400" not in await rest(stream)


async def test_the_application_hears_of_a_body_that_is_refused(wire):
    async with wire.connect() as stream:
        await stream.send(CHUNKED + b"3\r\nabc\r\n")
        await wire.inside.called.wait()
        await stream.send(b"nonsense\r\n")
        assert_refused(await rest(stream), 400)
        await wire.inside.left.wait()


# ---- cuts


async def test_a_cut_delivers_what_was_sent_and_no_end(wire, caplog):
    caplog.set_level(logging.DEBUG)
    answer = await wire.ask(b"GET /cut HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.endswith(b"c350\r\n" + b"x" * 50_000 + b"\r\n")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_cut_before_the_answer_closes_without_one(wire, caplog):
    assert await wire.ask(b"GET /cut/before HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_cut_after_the_end_changes_nothing(wire):
    async with wire.connect() as stream:
        for _ in range(2):
            await stream.send(b"GET /cut/late HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(stream, b"content-length: 0\r\n\r\n")
            await anyio.sleep(0.01)


async def test_a_client_that_does_not_read_is_left(wire):
    async with wire.connect() as stream:
        await stream.send(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await wire.inside.left.wait()
    assert wire.inside.sent < 1000


async def test_a_client_that_leaves_is_noticed(wire):
    async with wire.connect() as stream:
        await stream.send(HEAD + b"Content-Length: 5\r\n\r\nabc")
        await anyio.sleep(0.02)
    with anyio.fail_after(5):
        await wire.inside.left.wait()
