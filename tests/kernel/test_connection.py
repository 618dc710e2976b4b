"""Connections to upstreams: how answers end, when one is used again, and how many bytes wait."""

import asyncio
import socket
import ssl

import anyio
import pytest
import trustme

from plugway import (
    BackendProtocolError,
    BackendTimeout,
    BackendUnavailable,
    StreamInterrupted,
    Upstream,
)
from plugway.testing import Cut, Hold, Reset, ScriptedUpstream, Sleep, respond, sse
from plugway_http.client import connection as _connection
from plugway_http.client import network as _network
from plugway_http.client import pool as _pool
from plugway_http.client.connection import MAX_CHUNK_BYTES, MAX_HEAD_BYTES, MAX_WAITING_BYTES

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def server():
    async with ScriptedUpstream(otherwise=respond(200, {"ok": True})) as found:
        yield found


@pytest.fixture
async def upstream(server):
    async with Upstream(server.url) as found:
        yield found


async def ask(upstream, **options):
    response = await upstream.request("POST", "/v1/messages", body=b"{}", **options)
    try:
        return response.status, await response.read()
    finally:
        await response.aclose()


# ── how an answer ends ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_without_a_length_ends_with_its_connection(server, upstream, version):
    server.script([f"HTTP/{version} 200 OK\r\n\r\n".encode() + b"abc", Sleep(0.02), b"def", Cut()])
    assert await ask(upstream) == (200, b"abcdef")
    assert (await ask(upstream))[0] == 200
    assert server.connections == 2


async def test_a_body_without_a_length_that_is_reset_is_an_interruption(server, upstream):
    server.script([OK + b"\r\nabc", Sleep(0.02), Reset()])
    with pytest.raises(StreamInterrupted):
        await ask(upstream)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_ends_with_its_head(server, upstream, status):
    server.script([b"HTTP/1.1 %d X\r\n\r\n" % status, Hold()])
    with anyio.fail_after(5):
        with pytest.raises(BackendProtocolError):
            await ask(upstream)


@pytest.mark.parametrize("status", [100, 103])
async def test_answers_that_only_announce_one_are_passed_over(server, upstream, status):
    early = b"HTTP/1.1 %d X\r\nlink: a\r\n\r\n" % status
    server.script([early, Sleep(0.02), *respond(200, b"abc")], [early * 2 + respond(200, b"d")[0]])
    assert await ask(upstream) == (200, b"abc")
    assert await ask(upstream) == (200, b"d")


async def test_trailers_are_dropped(server, upstream):
    body = b"transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"
    server.script([OK + body])
    assert await ask(upstream) == (200, b"abc")
    assert await ask(upstream) == (200, b'{"ok": true}')
    assert server.connections == 1


@pytest.mark.parametrize(
    "body",
    [b"3\r\nabc\r\n0\r\nx: ", b"3;", b"0\r\n" + b"x: y\r\n" * 20],
    ids=["trailer", "extension", "trailers"],
)
async def test_what_is_no_body_is_bounded(server, upstream, body):
    flood = [b"x" * 16384] * 64 if not body.endswith(b"\n") else [b"x: y\r\n" * 4096] * 64
    server.script([OK + b"transfer-encoding: chunked\r\n\r\n" + body, *flood, Hold()])
    with anyio.fail_after(5), pytest.raises(StreamInterrupted):
        await ask(upstream)
    with anyio.fail_after(5):
        await server.requests[0].left.wait()


@pytest.mark.parametrize("line", [b"x: ", b"x: y\r\n"])
async def test_a_head_that_never_ends_is_refused(server, upstream, line):
    piece = line * (16384 // len(line)) if line.endswith(b"\n") else b"x" * 16384
    server.script([OK + line, *[piece] * (MAX_HEAD_BYTES // 16384 + 4), Hold()])
    with anyio.fail_after(5), pytest.raises(BackendProtocolError, match="valid HTTP"):
        await ask(upstream)


async def test_two_lengths_are_no_answer(server, upstream):
    server.script([OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc", Hold()])
    with anyio.fail_after(5), pytest.raises(BackendProtocolError):
        await ask(upstream)


async def test_what_is_closed_on_this_side_is_no_end(server, upstream):
    server.script([OK + b"\r\nabc", Hold()])
    response = await upstream.request("GET", "/")
    chunks = response.chunks()
    assert await anext(chunks) == b"abc"
    await upstream.__aexit__()
    with pytest.raises(StreamInterrupted):
        await anext(chunks)


async def test_an_upstream_that_stops_in_the_middle_of_a_request_is_not_waited_for():
    over = anyio.Event()

    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        await over.wait()
        writer.transport.abort()

    started = await asyncio.start_server(half, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{started.sockets[0].getsockname()[1]}"
    async with started, Upstream(url) as upstream:
        with anyio.fail_after(5), pytest.raises(BackendUnavailable, match="before it responded"):
            await upstream.request("POST", "/", body=b"x" * (20 * 2**20))
        over.set()


async def test_a_small_question_is_not_waited_for_in_the_middle_of_its_answer(server, upstream):
    server.script([OK + b"content-length: 9\r\n\r\n{", Hold()])
    with anyio.fail_after(5), pytest.raises(BackendTimeout):
        await upstream.fetch_json("/", seconds=0.1)
    await server.requests[0].left.wait()


# ── when a connection is used again ──────────────────────────────────────────────────────────


async def test_bytes_that_nobody_asked_for_close_the_connection(server, upstream):
    server.script(
        [*respond(200, b"abc"), b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Hold()]
    )
    status, body = await ask_whatever(upstream)
    assert (status, body) in {(200, b"abc"), (0, b"")}
    with anyio.fail_after(5):
        await server.requests[0].left.wait()
    assert await ask(upstream) == (200, b'{"ok": true}')
    assert server.connections == 2


async def ask_whatever(upstream):
    try:
        return await ask(upstream)
    except (BackendProtocolError, StreamInterrupted):
        return 0, b""


async def test_connections_are_used_again_youngest_first_and_as_many_as_needed(server, upstream):
    server.script(*[[Sleep(0.05), *respond(200, b"x")]] * 5)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask, upstream)
    assert server.connections == 5
    for _ in range(5):
        await ask(upstream)
    assert server.connections == 5
    assert len({request.connection for request in server.requests[5:]}) == 1


async def test_a_connection_that_the_upstream_closed_is_not_used_again(server, upstream):
    server.script([*respond(200, b"abc", {"connection": "close"}), Cut()])
    await ask(upstream)
    await ask(upstream)
    assert server.connections == 2


async def test_an_upstream_that_breaks_off_late_is_not_asked_again(server, upstream, monkeypatch):
    monkeypatch.setattr(_pool, "RESEND_SECONDS", 0.05)
    server.script(respond(200, b"a"), [Sleep(0.1), Cut()])
    await ask(upstream)
    with pytest.raises(BackendUnavailable, match="before it responded"):
        await ask(upstream)
    assert len(server.requests) == 2


async def test_a_connection_that_is_lost_while_it_opens_is_none(server, upstream, monkeypatch):
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def lose(*args, **options):
        transport, connection = await connect(*args, **options)
        transport.abort()
        while connection._transport is not None:
            await asyncio.sleep(0)
        return transport, connection

    monkeypatch.setattr(loop, "create_connection", lose)
    with pytest.raises(BackendUnavailable, match="is not open"):
        await ask(upstream)
    with anyio.fail_after(5):
        await upstream.__aexit__()


async def test_idle_connections_are_closed_after_a_while(server, upstream, monkeypatch):
    monkeypatch.setattr(_pool, "KEEP_SECONDS", 0.1)
    server.script(*[[Sleep(0.02), *respond(200, b"x")]] * 3)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask, upstream)
    assert server.open == 3
    await anyio.sleep(0.06)
    await ask(upstream)
    with anyio.fail_after(5):
        while server.open != 1:
            await anyio.sleep(0.01)
    with anyio.fail_after(5):
        while server.open:
            await anyio.sleep(0.01)


async def test_closing_the_client_ends_answers_in_flight(server):
    server.script(sse([b": hello\n\n"], end=Hold()))
    async with Upstream(server.url) as upstream:
        response = await upstream.request("GET", "/")
        chunks = response.chunks()
        await anext(chunks)
    with pytest.raises(StreamInterrupted):
        await anext(chunks)


# ── what waits, and what goes out ────────────────────────────────────────────────────────────


async def test_an_upstream_waits_for_a_reader_that_is_slow(server, upstream):
    said = 0

    class Counted(list):
        def __iter__(self):
            nonlocal said
            for step in list.__iter__(self):
                said += len(step)
                yield step

    size = 200 * 65536
    head = OK + b"content-length: %d\r\n\r\n" % size
    server.script(Counted([head, *[b"x" * 65536] * 200]))
    response = await upstream.request("GET", "/")
    await anyio.sleep(0.2)
    chunks = response.chunks()
    assert said < size
    assert len(await anext(chunks)) < MAX_WAITING_BYTES + 2 * 2**18
    rest = [len(chunk) async for chunk in chunks]
    assert sum(rest) < size == said - len(head)
    assert await ask(upstream) == (200, b'{"ok": true}')
    assert server.connections == 1


async def test_a_body_that_is_relayed_comes_in_larger_pieces_than_one_that_is_parsed(
    server, upstream
):
    server.script(respond(200, b"x" * 2**20))
    response = await upstream.request("GET", "/v1/models")
    chunks = response.chunks()
    assert {len(await anext(chunks)) <= MAX_CHUNK_BYTES for _ in range(20)} == {True}
    chunks.most = MAX_WAITING_BYTES
    assert max([len(chunk) async for chunk in chunks]) > MAX_CHUNK_BYTES


async def test_a_body_that_is_all_here_does_not_hold_the_loop(server, upstream, monkeypatch):
    monkeypatch.setattr(_connection, "MAX_SECONDS", 0)
    server.script(respond(200, b"x" * 2**20))
    response = await upstream.request("GET", "/v1/models")
    went_on = 0

    async def others():
        nonlocal went_on
        while True:
            await asyncio.sleep(0)
            went_on += 1

    task = asyncio.create_task(others())
    turns = [went_on async for _ in response.chunks()]
    task.cancel()
    assert len(turns) == len(set(turns)) >= 32


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "漢"])
async def test_a_value_that_no_header_may_hold_is_never_sent(server, upstream, value):
    with pytest.raises(BackendProtocolError, match="characters that are not allowed"):
        await ask(upstream, headers=(("x-a", value),))
    assert server.connections == 0


async def test_odd_characters_of_a_path_are_escaped(server, upstream):
    response = await upstream.request("GET", "/a b?c=\xe9\r\nx: y&d=%20")
    await response.read()
    assert server.requests[0].path == "/a%20b?c=%E9%0D%0Ax:%20y&d=%20"


# ── getting there ────────────────────────────────────────────────────────────────────────────


async def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(server, monkeypatch):
    loop = asyncio.get_running_loop()
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.setblocking(False)
        waiting.connect_ex(full.getsockname())
        more = [socket.socket() for _ in range(3)]
        for found in more:
            found.setblocking(False)
            found.connect_ex(full.getsockname())
        addresses = [full.getsockname(), ("127.0.0.1", server.port)]

        async def both(*_args):
            return [(socket.AF_INET, found) for found in addresses]

        monkeypatch.setattr(_pool, "_addresses", both)
        async with Upstream(f"http://upstream.test:{server.port}") as upstream:
            began = loop.time()
            assert await ask(upstream) == (200, b'{"ok": true}')
            assert loop.time() - began < 1
        for found in more:
            found.close()


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.test"])
async def test_a_name_that_can_be_none_is_unavailable(host):
    async with Upstream(f"http://{host}") as upstream:
        with pytest.raises(BackendUnavailable, match="cannot resolve"):
            await ask(upstream)


async def test_all_addresses_refuse(monkeypatch):
    async def three(*_args, **_kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))] * 3

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", three)
    async with Upstream("http://upstream.test") as upstream:
        with pytest.raises(BackendUnavailable, match="cannot connect"):
            await ask(upstream)


async def test_addresses_of_both_families_are_tried_in_turns(monkeypatch):
    six = [(socket.AF_INET6, 1, 6, "", (f"::{n}", 80, 0, 0)) for n in range(2)]
    four = [(socket.AF_INET, 1, 6, "", (f"127.0.0.{n}", 80)) for n in range(3)]

    async def found(*_args, **_kwargs):
        return [*six, *four]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", found)
    tried = [address[0] for _, address in await _pool._addresses(loop, "upstream.test", 80)]
    assert tried == ["::0", "127.0.0.0", "::1", "127.0.0.1", "127.0.0.2"]


async def test_a_certificate_that_is_vouched_for_is_trusted(monkeypatch):
    authority = trustme.CA()

    def context():
        found = ssl.create_default_context()
        authority.configure_trust(found)
        return found

    monkeypatch.setattr(_network, "_plain_context", context)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(served)

    async def answer(reader, writer):
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(respond(200, b"safe")[0])
        writer.close()

    started = await asyncio.start_server(answer, "localhost", 0, ssl=served)
    port = started.sockets[0].getsockname()[1]
    async with started, Upstream(f"https://localhost:{port}") as upstream:
        assert await ask(upstream) == (200, b"safe")
        assert await ask(upstream) == (200, b"safe")
