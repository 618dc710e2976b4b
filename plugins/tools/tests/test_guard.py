import asyncio
import socket
import ssl
from functools import partial

import anyio
import pytest
import trustme
from origins import Origin, closing, connected, exchange, get, page, response

from plugway.testing import LeakCheck
from plugway_tools import ProxyLimits, guard_proxy

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

PRIVATE = [
    "127.0.0.1", "localhost", "LOCALHOST", "2130706433", "0x7f000001", "127.1", "0", "017700000001",
    "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "169.254.169.254", "10.0.0.1",
    "192.168.1.1", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[64:ff9b::7f00:1]", "100.100.100.200", "224.0.0.1",
]  # fmt: skip


LOOPS = pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)


@pytest.fixture
async def no_leaks():
    async with LeakCheck(rss_slack=None):
        yield


def names(monkeypatch, **known):
    """Resolve names as a test wants; each lookup takes the next answer, the last one stays."""
    real = anyio.getaddrinfo

    async def answers(host, port, **more):
        if host not in known:
            return await real(host, port, **more)
        found = known[host]
        address = found.pop(0) if len(found) > 1 else found[0]
        return [(socket.AF_INET, 1, 6, "", (address, port))]

    monkeypatch.setattr(anyio, "getaddrinfo", answers)


@pytest.mark.parametrize("host", PRIVATE)
async def test_private_targets_are_refused_however_they_are_written(host):
    async with Origin() as origin, guard_proxy() as url:
        said = await exchange(url, get(f"http://{host}:{origin.port}/x"))
        tunnel = await exchange(url, get(f"{host}:{origin.port}", method="CONNECT"))
    for answer in (said, tunnel):
        assert answer.startswith("HTTP/1.1 403 ")
        assert "not a public address" in answer
        assert f"`{host.lower()}:{origin.port}`" in answer
    assert not origin.heads


async def test_a_name_that_resolves_to_this_machine_is_refused(monkeypatch):
    names(monkeypatch, **{"innocent.example": ["127.0.0.1"]})
    async with Origin() as origin, guard_proxy() as url:
        said = await exchange(url, get(f"http://innocent.example:{origin.port}/"))
    assert said.startswith("HTTP/1.1 403 ")
    assert not origin.heads


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
async def test_the_address_that_was_checked_is_connected_to(monkeypatch, method):
    """A name server that gives another address the second time gains nothing."""
    names(monkeypatch, **{"rebinding.example": ["93.184.216.34", "127.0.0.1"]})
    asked = []

    async def connect(host, port):
        asked.append((host, port))
        raise ConnectionRefusedError("not in a test")

    monkeypatch.setattr(asyncio, "open_connection", connect)
    async with guard_proxy() as url:
        target = "rebinding.example:81" if method == "CONNECT" else "http://rebinding.example:81/"
        # open_connection is taken, so that the test uses a socket of its own
        said = await anyio.to_thread.run_sync(partial(_ask, url, get(target, method=method)))
    assert asked == [("93.184.216.34", 81)]
    assert said.startswith("HTTP/1.1 502 ")
    assert "Cannot connect to rebinding.example:81: not in a test" in said


def _ask(url, raw):
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as own:
        own.sendall(raw)
        return b"".join(iter(partial(own.recv, 4096), b"")).decode()


@LOOPS
async def test_allowed_targets_are_relayed_with_their_path_host_and_body():
    async with Origin() as origin, guard_proxy([origin.place]) as url:
        said = await exchange(
            url,
            closing(
                f"http://{origin.place}/a/b?c=d#e",
                "Proxy-Connection: keep-alive",
                "Proxy-Authorization: Basic eA==",
                "X-Mine: 1",
                "Accept: */*",
            ),
        )
    assert said.startswith("HTTP/1.1 200 Said\r\n")
    assert said.endswith("\r\n\r\nhello")
    (head,) = origin.heads
    assert head.startswith(f"GET /a/b?c=d HTTP/1.1\r\nHost: {origin.place}\r\n")
    assert "X-Mine: 1\r\n" in head
    assert "Proxy-" not in head
    assert "ignored.example" not in head


@pytest.mark.parametrize("entry", ["localhost:{}", "LOCALHOST:{}"])
async def test_what_is_allowed_is_compared_without_case_and_port_by_port(entry):
    async with (
        Origin() as origin,
        Origin() as other,
        guard_proxy([entry.format(origin.port)]) as url,
    ):
        assert "200 Said" in await exchange(url, closing(f"http://LocalHost:{origin.port}/"))
        for refused in (f"127.0.0.1:{origin.port}", f"localhost:{other.port}"):
            assert " 403 " in await exchange(url, get(f"http://{refused}/"))


@pytest.mark.parametrize("entry", ["localhost", "http://a:1", "a:0", "a:99999", "u@a:1", "::1:80", "", "a:1/x"])  # fmt: skip
def test_what_is_allowed_must_be_a_host_and_a_port(entry):
    with pytest.raises(ValueError, match="is not `host:port`"):
        guard_proxy([entry])


async def test_a_redirect_to_a_private_address_is_refused_when_it_is_followed():
    async with Origin() as secret:
        leads = page("", 302, f"Location: http://{secret.place}/")
        async with Origin(lambda _: leads) as origin, guard_proxy([origin.place]) as url:
            said = await exchange(url, closing(f"http://{origin.place}/"))
            assert f"Location: http://{secret.place}/" in said
            assert " 403 " in await exchange(url, get(f"http://{secret.place}/"))
        assert not secret.heads


@LOOPS
async def test_one_connection_is_kept_for_several_hosts_and_each_is_checked():
    async with (
        Origin() as one,
        Origin(lambda _: page("other")) as two,
        Origin() as secret,
        guard_proxy([one.place, two.place]) as url,
        connected(url) as (reader, writer),
    ):
        for origin, text in ((one, "hello"), (two, "other"), (one, "hello")):
            writer.write(get(f"http://{origin.place}/"))
            assert (await response(reader))[1] == text
        writer.write(get(f"http://{secret.place}/"))
        head, text = await response(reader)
        assert " 403 " in head
        assert "not a public address" in text
    assert len(one.heads) == 2
    assert not secret.heads


async def test_pipelined_requests_are_answered_in_order():
    async with (
        Origin(lambda head: page(head.split()[1].decode())) as origin,
        guard_proxy([origin.place]) as url,
    ):
        whole = b"".join(get(f"http://{origin.place}/{n}") for n in range(5))
        said = await exchange(url, whole + closing(f"http://{origin.place}/last"))
    assert [line[-6:] for line in said.split("\r\n") if line.startswith("/")] != []
    assert [head.split()[1] for head in origin.heads] == ["/0", "/1", "/2", "/3", "/4", "/last"]


@pytest.mark.parametrize(
    "framing", ["Content-Length: 11", "Transfer-Encoding: chunked"], ids=["length", "chunked"]
)
async def test_bodies_of_requests_arrive(framing):
    async def echo(reader, writer):
        body = b""
        while b"beautiful!!" not in body:
            body += await reader.read(100)
            body = (
                body.replace(b"\r\n", b"").replace(b"5beaut", b"beaut").replace(b"6iful", b"iful")
            )
        writer.write(page("thanks"))

    body = b"beautiful!!"
    if framing.endswith("chunked"):
        body = b"5\r\nbeaut\r\n6\r\niful!!\r\n0\r\n\r\n"
    async with Origin(lambda _: echo) as origin, guard_proxy([origin.place]) as url:
        raw = closing(f"http://{origin.place}/", framing, method="POST")
        assert (await exchange(url, raw + body)).endswith("thanks")


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("length", [True, False])
async def test_large_responses_arrive_whole(length):
    text = "x" * 3_000_000
    whole = page(text) if length else b"HTTP/1.0 200 Old\r\n\r\n" + text.encode()
    async with Origin(lambda _: whole) as origin, guard_proxy([origin.place]) as url:
        said = await exchange(url, closing(f"http://{origin.place}/"))
    assert said.count("x") == len(text)
    assert length or said.endswith("0\r\n\r\n")


async def test_a_head_request_has_no_body():
    async with (
        Origin(lambda _: page("").replace(b": 0", b": 9")) as origin,
        guard_proxy([origin.place]) as url,
    ):
        said = await exchange(url, closing(f"http://{origin.place}/", method="HEAD"))
        refused = await exchange(url, get("http://127.0.0.1:1/", method="HEAD"))
    assert "Content-Length: 9\r\n" in said
    assert said.endswith("\r\n\r\n")
    assert " 403 " in refused
    assert refused.endswith("\r\n\r\n")


@LOOPS
async def test_a_response_that_is_cut_does_not_look_complete():
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with Origin(lambda _: cut) as origin, guard_proxy([origin.place]) as url:
        with pytest.raises(ConnectionError):
            said = await exchange(url, closing(f"http://{origin.place}/"))
            if not said.endswith("0\r\n\r\n"):
                raise ConnectionError(said)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-x\r\n\r\n", "invalid response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "invalid response"),
        (b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n", "is not a proxy"),
        (b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n", "invalid response"),
    ],
    ids=["not HTTP", "large head", "407", "101 that nobody asked for"],
)
async def test_a_strange_response_becomes_a_page_with_the_reason(answer, reason):
    async with Origin(lambda _: answer) as origin, guard_proxy([origin.place]) as url:
        said = await exchange(url, get(f"http://{origin.place}/"))
    assert said.startswith("HTTP/1.1 502 ")
    assert reason in said


async def test_a_target_that_does_not_listen_becomes_a_page_with_the_reason():
    async with Origin() as origin:
        pass
    async with guard_proxy([origin.place]) as url:
        said = await exchange(url, get(f"http://{origin.place}/"))
    assert said.startswith("HTTP/1.1 502 ")
    assert f"Cannot connect to {origin.place}" in said


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (get("/"), 400),
        (get("*", method="OPTIONS"), 400),
        (get("https://example.com/"), 400),
        (get("file:///etc/passwd"), 400),
        (get("http://"), 400),
        (get("http://u:p@example.com/"), 400),
        (get("http://[::1/"), 400),
        (get("http://example.com:99999/"), 400),
        (get("example.com", method="CONNECT"), 400),
        (get("example.com:0", method="CONNECT"), 400),
        (get("http://example.com:0/"), 400),
        (get("example.com:443/x", method="CONNECT"), 400),
        (get("http://example.com:443", method="CONNECT"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400),
        (get("http://example.com/", "Content-Length: 1", "Content-Length: 2"), 400),
        (get("http://example.com/", "X: " + "x" * 200_000), 431),
        (get("http://example.com/" + "x" * 200_000), 431),
        (get("http://example.com/", "Transfer-Encoding: gzip"), 501),
    ],
    ids=range(18),
)
async def test_what_is_not_a_request_to_a_proxy_is_refused(raw, status):
    async with guard_proxy() as url:
        said = await exchange(url, raw)
    assert said.startswith(f"HTTP/1.1 {status} ")


@LOOPS
async def test_tls_is_relayed_as_it_is():
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with (
        Origin(tls=server) as origin,
        guard_proxy([origin.place]) as url,
        connected(url) as (reader, writer),
    ):
        writer.write(get(origin.place, method="CONNECT"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await writer.start_tls(client, server_hostname="127.0.0.1")
        writer.write(b"GET /in HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await response(reader))[1] == "hello"
    assert origin.heads[0].startswith("GET /in ")


@pytest.mark.usefixtures("no_leaks")
async def test_each_side_of_a_tunnel_is_closed_on_its_own():
    async def after_the_end(reader, writer):
        rest = await reader.read()
        writer.write(b"got " + rest)

    async with (
        Origin(lambda _: after_the_end) as origin,
        guard_proxy([origin.place]) as url,
        connected(url) as (reader, writer),
    ):
        writer.write(get(origin.place, method="CONNECT") + b"early\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"more")
        writer.write_eof()
        assert await reader.read() == b"got more"


@LOOPS
async def test_a_websocket_is_relayed():
    async def shout(reader, writer):
        writer.write(
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi"
        )
        while data := await reader.read(100):
            writer.write(data.upper())

    async with (
        Origin(lambda _: shout) as origin,
        guard_proxy([origin.place]) as url,
        connected(url) as (reader, writer),
    ):
        writer.write(get(f"http://{origin.place}/", "Upgrade: websocket", "Connection: Upgrade"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 ")
        assert "Upgrade: websocket" in head
        assert await reader.readexactly(2) == b"hi"
        for word in (b"one", b"two"):
            writer.write(word)
            assert await reader.readexactly(3) == word.upper()
        writer.write_eof()
        assert await reader.read() == b""


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("body", [b"", b"half"])
async def test_a_client_that_leaves_ends_the_request_to_the_server(body):
    async with Origin(lambda _: b"") as origin, guard_proxy([origin.place]) as url:
        async with connected(url) as (_, writer):
            lines = ["Content-Length: 99"] if body else []
            writer.write(get(f"http://{origin.place}/", *lines) + body)
            while not origin.heads:
                await asyncio.sleep(0)
        await origin.left.wait()


async def test_a_slow_head_is_refused():
    async with guard_proxy(limits=ProxyLimits(head_seconds=0.05)) as url:
        assert (await exchange(url, b"GET http://a")).startswith("HTTP/1.1 408 ")


@LOOPS
async def test_a_silent_server_and_a_silent_client_are_given_up():
    limits = ProxyLimits(idle_seconds=0.05)
    async with Origin(lambda _: b"") as origin, guard_proxy([origin.place], limits=limits) as url:
        said = await exchange(url, get(f"http://{origin.place}/"))
        assert said.startswith("HTTP/1.1 504 ")
        await origin.left.wait()
        assert await exchange(url, b"") == ""
        said = await exchange(url, get(origin.place, method="CONNECT"))
        assert said.startswith("HTTP/1.1 200 ")


@pytest.mark.usefixtures("no_leaks")
async def test_two_hundred_requests_at_once_and_then_too_many():
    async with Origin() as origin:
        limits = ProxyLimits(connections=200)
        async with guard_proxy([origin.place], limits=limits) as url:
            asked = [exchange(url, closing(f"http://{origin.place}/{n}")) for n in range(200)]
            assert all(said.endswith("hello") for said in await asyncio.gather(*asked))
        limits = ProxyLimits(connections=1)
        async with guard_proxy([origin.place], limits=limits) as url, connected(url) as (_, writer):
            writer.write(get(f"http://{origin.place}/"))
            while len(origin.heads) <= 200:
                await asyncio.sleep(0)
            assert (await exchange(url, b"")).startswith("HTTP/1.1 503 ")


@pytest.mark.usefixtures("no_leaks")
async def test_the_end_of_the_proxy_ends_everything_and_an_error_passes():
    async with Origin(lambda _: b"") as origin:
        with pytest.raises(KeyError):
            async with (
                guard_proxy([origin.place]) as url,
                connected(url) as (_, one),
                connected(url) as (reader, two),
            ):
                one.write(get(f"http://{origin.place}/"))
                two.write(get(origin.place, method="CONNECT"))
                await reader.readuntil(b"\r\n\r\n")
                raise KeyError
        with pytest.raises(ConnectionRefusedError):
            await exchange(url, b"")
