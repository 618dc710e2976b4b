"""The client of upstreams: its limits, its map of failures, and what it never does."""

import asyncio
import socket
import ssl
import time
import warnings

import anyio
import orjson
import pytest
import trustme

from plugway import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    NetworkOptions,
    StreamInterrupted,
    Upstream,
)
from plugway.testing import Cut, Hold, Reset, ScriptedUpstream, Sleep, respond, sse
from tests.kernel.forward_proxy import ForwardProxy

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

JSON = {"content-type": "application/json"}


def closed_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
async def server():
    async with ScriptedUpstream(otherwise=respond(200, {"ok": True})) as found:
        yield found


@pytest.fixture(params=["direct", "proxy"])
async def upstream(server, request):
    """A client that is connected to the server, or to a proxy that leads there."""
    async with ForwardProxy() as proxy:
        by = proxy.url if request.param == "proxy" else "direct"
        network = NetworkOptions(proxy=by)
        credentials = {"x-api-key": "secret"}
        async with Upstream(server.url, credentials=credentials, network=network) as found:
            yield found


@pytest.fixture
async def direct(server):
    """A client whose connections are the gateway's own, which it knows to be kept ones."""
    async with Upstream(server.url) as found:
        yield found


async def ask(upstream, body=b"{}", **options):
    response = await upstream.request("POST", "/v1/messages", body=body, **options)
    try:
        return response, await response.read()
    finally:
        await response.aclose()


# ── what is sent ─────────────────────────────────────────────────────────────────────────────


async def test_path_query_body_and_headers_go_out_as_they_are(server, upstream):
    headers = (
        ("anthropic-beta", "a,b"),
        ("x-two", "1"),
        ("x-two", "2"),
        ("x-utf8", "é漢".encode().decode("latin-1")),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
    )
    path = "/v1/messages?beta=true&x=%2F%20+&y=a'b"
    response = await upstream.request("POST", path, body=b' {"a" : 1}', headers=headers)
    await response.read()
    (request,) = server.requests
    assert (request.path, request.body) == (path, b' {"a" : 1}')
    assert [v for k, v in request.headers if k == "x-two"] == ["1", "2"]
    assert request.header("x-utf8").encode("latin-1") == "é漢".encode()
    assert request.header("accept-encoding") == "identity"
    assert request.header("x-api-key") == "secret"
    names = [name.lower() for name, _ in request.headers]
    assert not {"connection", "transfer-encoding", "cookie", "user-agent"} & set(names)


async def test_credentials_of_an_attempt_replace_those_of_the_upstream(server, upstream):
    await ask(upstream, credentials={"authorization": "Bearer other"})
    (request,) = server.requests
    assert request.header("x-api-key") is None
    assert request.header("authorization") == "Bearer other"


async def test_bodies_over_a_mebibyte_go_out_whole_and_without_a_warning(server, upstream):
    body = b"x" * (5 * 2**20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await ask(upstream, body)
    assert server.requests[0].body == body


async def test_connections_are_kept_and_cookies_are_not(server, upstream):
    server.script(respond(200, {}, {"set-cookie": "a=1; Path=/"}))
    response, _ = await ask(upstream)
    await ask(upstream)
    assert server.connections == 1
    assert server.requests[1].header("cookie") is None
    assert "set-cookie" not in dict(response.headers)


async def test_headers_of_the_upstreams_own_origin_stay_behind(server, upstream):
    never = {
        "set-cookie": "a=1",
        "www-authenticate": "Basic",
        "strict-transport-security": "max-age=1",
        "access-control-allow-origin": "*",
        "alt-svc": "h3",
        "server": "x",
        "keep-alive": "timeout=5",
    }
    passing = {"request-id": "req_1", "retry-after": "1", "anthropic-new": "1"}
    server.script(respond(200, {}, {**never, **passing}))
    response, _ = await ask(upstream)
    names = set(dict(response.headers))
    assert names == {
        "content-type", "plugway-upstream-request-id", "retry-after", "anthropic-new"
    }  # fmt: skip


# ── what is refused ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_no_redirect_is_followed(server, upstream, status):
    async with ScriptedUpstream() as attacker:
        server.script(respond(status, b"", {"location": f"{attacker.url}/steal"}))
        with pytest.raises(BackendProtocolError, match="redirects") as caught:
            await ask(upstream)
        assert attacker.requests == []
    assert caught.value.permanent
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [600, 999])
async def test_a_status_of_no_class_is_refused(server, upstream, status):
    server.script(respond(status, {}))
    with pytest.raises(BackendProtocolError, match=f"invalid status {status}"):
        await ask(upstream)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "x-unknown"])
async def test_a_compressed_answer_is_refused(server, upstream, encoding):
    server.script(respond(200, b"\x1f\x8b" + b"\0" * 100, {"content-encoding": encoding}))
    with pytest.raises(BackendProtocolError, match=encoding):
        await ask(upstream)


async def test_a_whole_answer_has_a_limit(server, upstream):
    server.script(respond(200, b"x" * 2000))
    response = await upstream.request("GET", "/")
    with pytest.raises(BackendProtocolError, match="larger than 1000"):
        await response.read(1000)


async def test_a_head_that_is_too_large_is_refused(server, upstream):
    server.script(respond(200, {}, {"x-large": "x" * 200_000}))
    with pytest.raises(BackendProtocolError):
        await ask(upstream)


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.9\r\n", b"\x16\x03\x01\x02\0", b"HTTP/1.1 abc\r\n\r\n"]
)
async def test_what_is_not_http_is_named_so(server, upstream, said):
    server.script([said, Cut()])
    with pytest.raises(BackendError) as caught:
        await ask(upstream)
    assert isinstance(caught.value, BackendProtocolError | BackendUnavailable)


# ── reaching it ──────────────────────────────────────────────────────────────────────────────


async def test_a_refused_connection_is_unavailable():
    async with Upstream(f"http://127.0.0.1:{closed_port()}") as upstream:
        with pytest.raises(BackendUnavailable, match="connection refused") as caught:
            await ask(upstream)
    assert str(caught.value).endswith(" - start its server, or fix `base_url`")
    assert (caught.value.status, caught.value.permanent, caught.value.try_next) == (
        503,
        False,
        True,
    )


async def test_a_name_without_an_address_is_unavailable(monkeypatch):
    async def nothing(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nothing)
    async with Upstream("http://upstream.invalid") as upstream:
        with pytest.raises(
            BackendUnavailable, match=r"cannot resolve .* - check this machine's network"
        ):
            await ask(upstream)


async def test_a_dropped_connection_attempt_times_out():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for found in waiting:
                found.setblocking(False)
                found.connect_ex(full.getsockname())
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with Upstream(url, connect_seconds=0.2) as upstream:
                with pytest.raises(BackendUnavailable, match="timed out"):
                    await ask(upstream)
        finally:
            for found in waiting:
                found.close()


async def test_silence_before_the_head_is_a_timeout(server, upstream):
    server.script([Hold()])
    with pytest.raises(BackendTimeout):
        await ask(upstream, seconds=0.1)
    with anyio.fail_after(5):
        await server.requests[0].left.wait()


async def test_before_it_is_opened_and_after_it_is_closed_it_is_unavailable():
    upstream = Upstream("http://127.0.0.1:1")
    with pytest.raises(BackendUnavailable, match="not open"):
        await ask(upstream)
    async with upstream:
        pass
    with pytest.raises(BackendUnavailable, match="not open"):
        await ask(upstream)


@pytest.mark.parametrize("steps", range(6))
async def test_a_loop_that_was_blocked_while_it_connected_is_no_failure_of_the_server(steps):
    """As by a large garbage collection."""
    async with ScriptedUpstream() as server, Upstream(server.url, connect_seconds=0.2) as upstream:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, upstream)
            for _ in range(steps):
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(time.sleep, 0.3)
            await asyncio.sleep(0)
        assert len(server.requests) == 1


async def _tls(certificate, host):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    started = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
    return started, f"https://{host}:{started.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_that_nobody_vouches_for_is_permanent(host):
    started, url = await _tls(trustme.CA().issue_cert(host), host)
    async with started, Upstream(url) as upstream:
        with pytest.raises(
            BackendUnavailable, match=r"cannot be trusted: .*SSL_CERT_FILE"
        ) as caught:
            await ask(upstream)
    assert (caught.value.status, caught.value.permanent, caught.value.try_next) == (
        502,
        True,
        False,
    )


async def test_tls_to_a_port_without_tls_is_permanent():
    async def plain(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    started = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{started.sockets[0].getsockname()[1]}"
    async with started, Upstream(url) as upstream:
        with pytest.raises(BackendUnavailable, match="does not speak TLS - use `http://`"):
            await ask(upstream)


async def test_a_server_that_hangs_up_on_tls_is_told_as_that():
    started = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    url = f"https://127.0.0.1:{started.sockets[0].getsockname()[1]}"
    async with started, Upstream(url) as upstream:
        with pytest.raises(BackendUnavailable, match=r"cannot connect to .*: connection"):
            await ask(upstream)


async def test_a_certificate_for_another_host_is_told_as_that(monkeypatch):
    authority = trustme.CA()
    started, url = await _tls(authority.issue_cert("other.test"), "localhost")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr("plugway_http.client.network._plain_context", lambda: trusting)
    async with started, Upstream(url) as upstream:
        with pytest.raises(
            BackendUnavailable, match=r"not valid for 'localhost'.* - use the host name"
        ):
            await ask(upstream)


# ── losing it ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [Cut(), Reset()], ids=["fin", "rst"])
async def test_a_kept_connection_that_dies_before_an_answer_is_replaced_once(server, direct, end):
    await ask(direct)
    server.script([end], respond(200, {"second": True}))
    _, body = await ask(direct, b'{"n": 2}')
    assert body == b'{"second": true}'
    assert [r.body for r in server.requests] == [b"{}", b'{"n": 2}', b'{"n": 2}']
    assert server.connections == 2


@pytest.mark.parametrize("end", [Cut(), Reset()], ids=["fin", "rst"])
async def test_large_bodies_are_resent_from_their_beginning(server, direct, end):
    await ask(direct)
    body = b"x" * (2**20 + 5)
    server.script([end])
    await ask(direct, body)
    assert server.requests[-1].body == body


@pytest.mark.parametrize("end", [Cut(), Reset()], ids=["fin", "rst"])
async def test_a_fresh_connection_that_dies_is_not_replaced(server, upstream, end):
    server.script([end])
    with pytest.raises(BackendUnavailable, match="before it responded"):
        await ask(upstream)
    assert len(server.requests) == 1


async def test_a_kept_connection_is_replaced_only_once(server, direct):
    await ask(direct)
    server.script([Cut()], [Cut()])
    with pytest.raises(BackendUnavailable):
        await ask(direct)
    assert len(server.requests) == 3


async def test_nothing_is_resent_once_an_answer_has_begun(server, upstream):
    await ask(upstream)
    server.script([b"HTTP/1.1 200 OK\r\ncontent-ty", Cut()])
    with pytest.raises(BackendUnavailable):
        await ask(upstream)
    assert len(server.requests) == 2


@pytest.mark.parametrize("end", [Cut(), Reset()], ids=["fin", "rst"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_ends_early_is_an_interruption(server, upstream, end, chunked):
    head = b"transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n"
    if not chunked:
        head = b"content-length: 100\r\n\r\nabcde"
    server.script([b"HTTP/1.1 200 OK\r\n" + head, Sleep(0.02), end])
    response = await upstream.request("GET", "/")
    chunks = response.chunks()
    assert await anext(chunks) == b"abcde"
    with pytest.raises(StreamInterrupted):
        await anext(chunks)
    await response.aclose()


async def test_a_malformed_chunk_is_an_interruption(server, upstream):
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n"
    server.script([head, Sleep(0.02), b"zz\r\n", Hold()])
    response = await upstream.request("GET", "/")
    chunks = response.chunks()
    assert await anext(chunks) == b"abcde"
    with anyio.fail_after(5), pytest.raises(StreamInterrupted):
        await anext(chunks)
    await response.aclose()


async def test_an_answer_that_is_let_go_closes_its_connection_at_once(server, upstream):
    server.script(sse([b": hello\n\n"], end=Hold()))
    response = await upstream.request("GET", "/")
    assert await anext(response.chunks()) == b": hello\n\n"
    await response.aclose()
    await response.aclose()
    with anyio.fail_after(5):
        await server.requests[0].left.wait()


async def test_a_cancelled_request_closes_its_connection_at_once(server, upstream):
    server.script([Hold()])
    async with anyio.create_task_group() as group:
        group.start_soon(ask, upstream)
        request = await server.wait_for_request()
        group.cancel_scope.cancel()
    with anyio.fail_after(5):
        await request.left.wait()
    _, body = await ask(upstream)
    assert body == b'{"ok": true}'


async def test_an_answer_that_comes_before_the_body_is_read_is_used():
    used, closed = anyio.Event(), anyio.Event()

    async def early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 X\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge")
        await used.wait()
        writer.transport.abort()
        closed.set()

    started = await asyncio.start_server(early, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{started.sockets[0].getsockname()[1]}"
    async with started, Upstream(url) as found:
        response, body = await ask(found, b"x" * (20 * 2**20))
        used.set()
        await closed.wait()
    assert (response.status, body) == (413, b"large")


# ── small questions ──────────────────────────────────────────────────────────────────────────


async def test_a_small_question_gets_parsed_json(server, upstream):
    assert await upstream.fetch_json("/v1/models") == {"ok": True}
    assert await upstream.fetch_json("/api/show", body=b"{}") == {"ok": True}
    assert [r.method for r in server.requests] == ["GET", "POST"]


async def test_a_small_question_keeps_the_status_of_a_refusal(server, upstream):
    server.script(respond(404, {"error": "no such route"}), respond(200, b"<html>"))
    with pytest.raises(BackendRefused, match="no such route") as caught:
        await upstream.fetch_json("/api/v1/models")
    assert caught.value.status == 404
    with pytest.raises(BackendProtocolError, match="not JSON"):
        await upstream.fetch_json("/api/v1/models")


@pytest.mark.parametrize(("values", "kept"), [(9_000, True), (11_000, False)])
async def test_an_error_of_very_many_values_is_told_by_its_status(server, upstream, values, kept):
    body = orjson.dumps({"error": "no", "of": [0] * values})
    server.script(respond(422, body))
    response = await upstream.request("POST", "/v1/messages", body=b"{}")
    assert (response.status, await response.refusal()) == (422, body if kept else b"")


# ── keys that come back ──────────────────────────────────────────────────────────────────────


async def test_a_key_that_a_refusal_quotes_is_taken_out_of_it(server):
    server.script(respond(401, b"invalid key a-long-secret!"))
    credentials = {"authorization": "Bearer a-long-secret"}
    async with Upstream(server.url, credentials=credentials) as upstream:
        with pytest.raises(BackendRefused) as caught:
            await upstream.fetch_json("/models")
    assert caught.value.body == b"invalid key [redacted]!"
    assert caught.value.message == "invalid key [redacted]!"
