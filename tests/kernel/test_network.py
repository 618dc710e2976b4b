"""The ways to a server: by which proxy, under whose certificates, and who says so."""

import asyncio
import socket
import ssl
import sys
from urllib.parse import quote

import anyio
import pytest
import trustme
from pydantic import ValidationError

from plugway import BackendUnavailable, NetworkOptions, PlugwayError, Upstream
from plugway.testing import Hold, ScriptedUpstream, respond
from plugway.upstream.network import proxy_for
from plugway_http.client import pool
from plugway_http.client.network import is_near
from tests.kernel.forward_proxy import ForwardProxy, SocksProxy
from tests.kernel.http2_server import answering

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch):
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


ENVIRONMENTS = {
    "https": ({"HTTPS_PROXY": "http://p:1"}, "https://api.test", "http://p:1 (HTTPS_PROXY)"),
    "lower case": ({"https_proxy": "http://p:1"}, "https://api.test", "http://p:1 (https_proxy)"),
    "no scheme": ({"HTTPS_PROXY": "p:1"}, "https://api.test", "http://p:1 (HTTPS_PROXY)"),
    "all": ({"ALL_PROXY": "socks5://p:1"}, "https://api.test", "socks5://p:1 (ALL_PROXY)"),
    "of http": ({"HTTP_PROXY": "http://p:1"}, "http://api.test", "http://p:1 (HTTP_PROXY)"),
    "password": ({"HTTPS_PROXY": "http://u:pass@p:1"}, "https://api.test", "http://p:1"),
}
DIRECT = {
    "nothing set": ({}, "https://api.test"),
    "of the other scheme": ({"HTTP_PROXY": "http://p:1"}, "https://api.test"),
    "empty": ({"HTTPS_PROXY": ""}, "https://api.test"),
    "excepted": ({"ALL_PROXY": "http://p:1", "NO_PROXY": "api.test"}, "https://api.test"),
    "domain": ({"ALL_PROXY": "http://p:1", "NO_PROXY": ".test"}, "https://api.test"),
    "everything excepted": ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://api.test"),
    "loopback": ({"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:9"),
    "loopback by name": ({"ALL_PROXY": "http://p:1"}, "http://localhost:9"),
    "loopback, IPv6": ({"ALL_PROXY": "http://p:1"}, "http://[::1]:9"),
    "private": ({"ALL_PROXY": "http://p:1"}, "http://192.168.1.7:11434"),
    "private, IPv6": ({"ALL_PROXY": "http://p:1"}, "http://[fd00::7]:11434"),
    "a machine's name": ({"ALL_PROXY": "http://p:1"}, "http://nas:11434"),
    "a name with its dot": ({"ALL_PROXY": "http://p:1"}, "http://nas.local.:11434"),
    "loopback with its dot": ({"ALL_PROXY": "http://p:1"}, "http://localhost.:9"),
    "private, short": ({"ALL_PROXY": "http://p:1"}, "http://10.1:9"),
    "private, in hexadecimal": ({"ALL_PROXY": "http://p:1"}, "http://0x0a.0.0.1:9"),
    "multicast DNS": ({"ALL_PROXY": "http://p:1"}, "http://nas.local:11434"),
}


@pytest.mark.parametrize(("variables", "url", "told"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_proxy_of_the_environment_is_used_and_named(monkeypatch, variables, url, told):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    setting = proxy_for(url, NetworkOptions())
    assert setting.description.startswith(f"through the proxy {told}")
    assert "pass" not in setting.description + repr(setting)


@pytest.mark.parametrize(("variables", "url"), DIRECT.values(), ids=DIRECT)
def test_what_is_near_or_excepted_is_reached_directly(monkeypatch, variables, url):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url, NetworkOptions()).description == "directly"


def test_the_zone_local_never_uses_a_proxy_of_the_environment(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    assert proxy_for("https://gpu.office.test", NetworkOptions(), "local").description == "directly"
    chosen = NetworkOptions(proxy="http://q:2")
    assert proxy_for("https://gpu.office.test", chosen, "local").description.endswith(
        "http://q:2 (`proxy`)"
    )


def test_an_option_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
    assert proxy_for("https://api.test", NetworkOptions(proxy="direct")).description == "directly"
    setting = proxy_for(
        "https://api.test", NetworkOptions(proxy="http://q:2", proxy_login="me:a@b")
    )
    assert setting.url == "http://me:a%40b@q:2"
    assert setting.description == "through the proxy http://q:2 (`proxy`)"


@pytest.mark.parametrize(
    ("host", "near"), [("10.0.0.1", True), ("8.8.8.8", False), ("a.localhost", True)]
)
def test_private_addresses_are_near(host, near):
    assert is_near(f"http://{host}") is near


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("proxy", "ftp://p:1", "should be `direct`"),
        ("proxy", "p:1", "should be `direct`"),
        ("proxy", "http://me:secret@p:1", "in `proxy_login`"),
        ("proxy", "http://me:hun/secret@p:1", "in `proxy_login`"),
        ("proxy", "http://me%3Asecret%40p:1", "in `proxy_login`"),
        ("proxy", "http://p:port", "should be `direct`"),
        ("proxy", "http://p:1/path", "should be `direct`"),
        ("ca_file", "/nowhere.pem", "there is no file"),
        ("client_certificate", __file__, "cannot be used"),
        ("ca_file", __file__, "cannot be used"),
    ],
)
def test_options_that_cannot_be_are_refused(option, value, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        NetworkOptions(**{option: value})
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://u:hunt/er@127.0.0.1:1",
        "http://u:hunt#er@127.0.0.1:1",
        "http://u:hunt?er@127.0.0.1:1",
        "http://u:[hunter]@127.0.0.1:1",
        "http://u:hunter@[::1",
        "ftp://u:hunter@127.0.0.1:1",
        "http://127.0.0.1:hunter",
        "http://127.0.0.1:99999",
    ],
)
def test_a_proxy_of_the_environment_that_can_be_none_is_named_by_its_variable_alone(
    monkeypatch, proxy
):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(PlugwayError, match="HTTPS_PROXY is not a valid proxy URL") as caught:
        Upstream("https://api.test")
    assert "hunt" not in str(caught.value)


async def ask(upstream):
    response = await upstream.request("POST", "/v1/messages", body=b"{}")
    try:
        return await response.read()
    finally:
        await response.aclose()


@pytest.fixture
async def secure(tmp_path):
    """A server with a certificate that this machine does not know, and the file that vouches."""
    authority, asked = trustme.CA(), []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    vouched = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(vouched)

    async def answer(reader, writer):
        try:
            while True:
                asked.append(await reader.readuntil(b"\r\n\r\n{}"))
                writer.write(respond(200, b"safe")[0])
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    started = await asyncio.start_server(answer, "localhost", 0, ssl=context)
    async with started:
        port = started.sockets[0].getsockname()[1]
        yield f"https://localhost:{port}", vouched, asked, context, authority


@pytest.mark.parametrize("proxied", [False, True])
async def test_an_authority_of_ones_own_is_trusted(secure, proxied):
    url, vouched, asked, *_ = secure
    async with ForwardProxy() as proxy:
        network = NetworkOptions(ca_file=vouched, proxy=proxy.url if proxied else "direct")
        async with Upstream(url, network=network) as upstream:
            assert await ask(upstream) == b"safe"
            assert await ask(upstream) == b"safe"
        assert len(asked) == 2
        assert [method for method, _ in proxy.asked] == (["CONNECT"] if proxied else [])


async def test_a_proxy_is_not_vouched_for_what_is_behind_it(secure):
    url, *_ = secure
    async with ForwardProxy() as proxy:
        async with Upstream(url, network=NetworkOptions(proxy=proxy.url)) as upstream:
            with pytest.raises(BackendUnavailable, match="cannot be trusted") as caught:
                await ask(upstream)
        assert caught.value.permanent


async def test_a_proxy_with_tls_of_an_own_authority_is_trusted_and_named_where_it_is_not(secure):
    url, vouched, _, context, _ = secure
    strange = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(strange)
    async with ForwardProxy(tls=context) as proxy, ForwardProxy(tls=strange) as other:
        for found, way in ((proxy.url, "safe"), (other.url, "the proxy https://localhost")):
            network = NetworkOptions(ca_file=vouched, proxy=found)
            async with Upstream(url, network=network) as upstream:
                if way == "safe":
                    assert await ask(upstream) == b"safe"
                else:
                    with pytest.raises(BackendUnavailable, match=way + ".* cannot be trusted"):
                        await ask(upstream)


async def test_a_server_behind_a_proxy_with_tls_is_named_where_it_is_not_trusted(secure, tmp_path):
    url, *_ = secure
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "proxy.pem")
    async with ForwardProxy(tls=context) as proxy:
        network = NetworkOptions(ca_file=tmp_path / "proxy.pem", proxy=proxy.url)
        async with Upstream(url, network=network) as upstream:
            with pytest.raises(BackendUnavailable, match=f"^{url} cannot be trusted"):
                await ask(upstream)


async def test_a_server_that_asks_who_comes_is_shown_the_certificate(secure, tmp_path):
    url, vouched, _, context, authority = secure
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    own = tmp_path / "gateway.pem"
    authority.issue_cert("gateway.test").private_key_and_cert_chain_pem.write_to_path(own)
    shown = NetworkOptions(ca_file=vouched, client_certificate=own, proxy="direct")
    async with Upstream(url, network=shown) as upstream:
        assert await ask(upstream) == b"safe"


async def test_a_login_opens_the_proxy_and_never_reaches_the_server(secure):
    url, vouched, asked, *_ = secure
    async with ForwardProxy(login="me:secret") as proxy:
        network = NetworkOptions(proxy=proxy.url, proxy_login="me:secret", ca_file=vouched)
        async with Upstream(url, network=network) as upstream:
            assert await ask(upstream) == b"safe"
    assert b"proxy-authorization" not in asked[0].lower()


async def test_a_proxy_that_wants_a_login_is_named_with_the_fix(secure):
    url, *_ = secure
    async with ForwardProxy(login="me:secret") as proxy:
        network = NetworkOptions(proxy=proxy.url, proxy_login="me:wrong")
        async with Upstream(url, network=network) as upstream:
            with pytest.raises(BackendUnavailable, match=r"407.*proxy_login") as caught:
                await ask(upstream)
    assert proxy.url in str(caught.value)
    assert "wrong" not in str(caught.value)


async def test_a_proxy_that_refuses_is_named(secure):
    url, *_ = secure
    async with (
        ForwardProxy(refuses=403) as proxy,
        Upstream(url, network=NetworkOptions(proxy=proxy.url)) as upstream,
    ):
        with pytest.raises(BackendUnavailable, match=r"cannot connect to .*: 403"):
            await ask(upstream)


async def test_a_proxy_that_is_down_is_named(secure):
    url, *_ = secure
    async with ForwardProxy() as proxy:
        gone = proxy.url
    async with Upstream(url, network=NetworkOptions(proxy=gone)) as upstream:
        with pytest.raises(BackendUnavailable, match=r"cannot connect to the proxy ") as caught:
            await ask(upstream)
    assert gone in str(caught.value)


@pytest.fixture
async def odd_proxy():
    """Where something listens that answers each connection with `replies[0]`, or never if empty."""
    replies, open_ones = [b""], []

    async def answer(reader, writer):
        open_ones.append(writer)
        await reader.read(1000)
        if replies[0]:
            writer.write(replies[0])
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", replies
    server.close()
    for writer in open_ones:
        writer.close()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_never_replies_is_named_in_time(odd_proxy, scheme):
    proxy = f"{scheme}://{odd_proxy[0]}"
    network = NetworkOptions(proxy=proxy, connect_seconds=0.2)
    async with Upstream("https://api.test", network=network) as upstream:
        with anyio.fail_after(10), pytest.raises(BackendUnavailable, match="timed out") as caught:
            await ask(upstream)
    assert proxy in str(caught.value)


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 "])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_what_is_no_proxy_is_named(odd_proxy, scheme, reply):
    address, replies = odd_proxy
    replies[0] = reply
    proxy = f"{scheme}://{address}"
    async with Upstream("https://api.test", network=NetworkOptions(proxy=proxy)) as upstream:
        with pytest.raises(
            BackendUnavailable, match=r"cannot connect to https://api\.test"
        ) as caught:
            await ask(upstream)
    assert proxy in str(caught.value)


@pytest.mark.parametrize("reply", [b"\x05\xff", b"SSH-2.0-OpenSSH_9\r\n", b""])
async def test_the_connection_to_a_proxy_that_does_not_connect_is_closed(reply):
    closed = anyio.Event()

    async def answer(reader, writer):
        await reader.readexactly(3)
        writer.write(reply)
        assert not await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    network = NetworkOptions(proxy=proxy, connect_seconds=0.2)
    async with Upstream("https://api.test", network=network) as upstream:
        with pytest.raises(BackendUnavailable) as failure:
            await ask(upstream)
        with anyio.fail_after(5):
            await closed.wait()
    assert proxy in str(failure.value)
    server.close()


async def test_a_server_by_a_proxy_has_all_the_time_to_answer(secure):
    url, vouched, _, _, _ = secure
    async with ForwardProxy() as proxy:
        network = NetworkOptions(proxy=proxy.url, ca_file=vouched, connect_seconds=0.2)
        async with Upstream(url, network=network) as upstream:
            asking = asyncio.create_task(
                upstream.request("POST", "/v1/messages", body=b"x")  # is not answered
            )
            done, _ = await asyncio.wait([asking], timeout=0.6)
            assert not done
            asking.cancel()


async def test_a_stream_by_a_proxy_is_not_held_back_and_its_end_is_noticed_there():
    async with ScriptedUpstream() as server, ForwardProxy() as proxy:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        server.script([head + b"9\r\ndata: 1\n\n\r\n", Hold()])
        async with Upstream(server.url, network=NetworkOptions(proxy=proxy.url)) as upstream:
            response = await upstream.request("POST", "/v1/messages", body=b"{}")
            chunks = response.chunks()
            with anyio.fail_after(5):
                assert b"data: 1" in await anext(chunks)
            await response.aclose()
            with anyio.fail_after(5):
                await server.requests[0].left.wait()


async def test_a_socks_proxy_leads_to_a_server(secure):
    url, vouched, asked, *_ = secure
    async with SocksProxy() as proxy:
        network = NetworkOptions(proxy=proxy.url, ca_file=vouched)
        async with Upstream(url, network=network) as upstream:
            assert await ask(upstream) == b"safe"
    assert len(asked) == 1


LONG = {
    "user": "u" * 256 + ":p",
    "password": "u:" + "p" * 256,
    "in bytes": "u:" + "é" * 128,
}


@pytest.mark.parametrize("login", LONG.values(), ids=LONG)
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_login_that_no_socks_proxy_can_take_is_refused_when_it_is_read(
    monkeypatch, login, scheme
):
    with pytest.raises(
        ValidationError, match=r"(?s)proxy_login.*has 256 bytes.*allows 255"
    ) as told:
        NetworkOptions(proxy=f"{scheme}://127.0.0.1:1", proxy_login=login)
    assert not any(part * 20 in str(told.value) for part in "upé")
    user, _, password = login.partition(":")
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://{quote(user)}:{quote(password)}@127.0.0.1:1")
    with pytest.raises(PlugwayError, match=r"login in ALL_PROXY.*has 256 bytes") as told:
        Upstream("https://api.test")
    assert not any(part * 20 in str(told.value) for part in ("u", "p", quote("é")))


def test_a_login_of_255_bytes_and_one_for_http_are_taken():
    for login in ("u" * 255 + ":" + "p" * 255, "é" * 127 + ":%" + "%41" * 84):
        assert NetworkOptions(proxy="socks5://127.0.0.1:1", proxy_login=login).proxy_login
    assert NetworkOptions(proxy="http://127.0.0.1:1", proxy_login=LONG["user"]).proxy_login


async def test_a_server_is_asked_in_http_2_where_that_is_wanted(tmp_path):
    authority, heads = trustme.CA(), []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")

    started = await asyncio.start_server(answering(heads, b"by h2"), "localhost", 0, ssl=context)
    async with started:
        url = f"https://localhost:{started.sockets[0].getsockname()[1]}"
        network = NetworkOptions(http2=True, ca_file=tmp_path / "authority.pem", proxy="direct")
        async with Upstream(url, network=network) as upstream:
            assert [await ask(upstream) for _ in range(2)] == [b"by h2"] * 2
    assert [head[b":path"] for head in heads] == [b"/v1/messages"] * 2


async def test_a_library_that_is_missing_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "socksio", None)
    network = NetworkOptions(proxy="socks5://127.0.0.1:1")
    with pytest.raises(BackendUnavailable, match=r'pip install "httpx2\[socks\]"'):
        async with Upstream("https://api.test", network=network):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other names for it")
async def test_a_server_whose_host_vanished_is_noticed_within_a_minute(monkeypatch):
    made = []
    connected = pool._connected

    async def watched(*where):
        made.append(await connected(*where))
        return made[-1]

    monkeypatch.setattr(pool, "_connected", watched)
    async with (
        ScriptedUpstream(otherwise=respond(200, {})) as server,
        Upstream(server.url) as upstream,
    ):
        await (await upstream.request("GET", "/")).aclose()
        (found,) = made
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        times = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, between, tries = (found.getsockopt(socket.IPPROTO_TCP, name) for name in times)
        assert idle + between * tries <= 60
