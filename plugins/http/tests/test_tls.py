"""HTTPS on real sockets, with real certificates."""

import asyncio
import datetime
import logging
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec

import anyio
import pytest
import trustme

from plugway_http.certificate import CertificateError, CertificateFiles
from plugway_http.server import RenewedCertificate, Server, WireLimits, bind

pytestmark = pytest.mark.anyio
needs_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
AUTHORITY = trustme.CA()


@pytest.fixture(params=[False, pytest.param(True, marks=needs_uvloop)], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    """Both loops, because each has its own implementation of TLS."""
    return "asyncio", {"use_uvloop": request.param}


def issued(folder, *names, **more):
    """The files of a new certificate for `names`; those of an earlier one are replaced."""
    leaf = AUTHORITY.issue_cert(*names, **more)
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
    files.certificate.write_bytes(leaf.cert_chain_pems[0].bytes())
    files.key.write_bytes(leaf.private_key_pem.bytes())
    return files


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


class App:
    """`/` answers at once, `/big` with ten million bytes; others stream until told to end."""

    def __init__(self):
        self.end = anyio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/big":
            for _ in range(100):
                await send(
                    {"type": "http.response.body", "body": b"x" * 100_000, "more_body": True}
                )
        elif scope["path"] != "/":
            await send({"type": "http.response.body", "body": b"begin", "more_body": True})
            await self.end.wait()
        await send({"type": "http.response.body", "body": scope["scheme"].encode() + b" end"})


@asynccontextmanager
async def running(files, app=None, **limits):
    limits = WireLimits(**{"head_seconds": 5, "linger_seconds": 1, **limits})
    certificate = RenewedCertificate(files)
    server = Server(app or App(), bind("127.0.0.1", 0), limits=limits, certificate=certificate)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            await server.started.wait()
            yield server
            server.stop()


def trusts():
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def connected(port, context=None, name="localhost"):
    return await anyio.connect_tcp(
        "127.0.0.1",
        port,
        ssl_context=context or trusts(),
        tls_hostname=name,
        tls_standard_compatible=False,
    )


async def until(stream, end):
    received = b""
    while end not in received:
        received += await stream.receive()
    return received


async def names_shown(port, name="localhost"):
    """The names of the certificate in a new handshake."""
    async with await connected(port, name=name) as stream:
        shown = stream.extra(anyio.streams.tls.TLSAttribute.peer_certificate)
        return [value for _, value in shown["subjectAltName"]]


async def renewed(port, name):
    """Wait until a new handshake shows a certificate for `name`."""
    while True:
        with suppress(ssl.SSLError, anyio.BrokenResourceError):
            return await names_shown(port, name)


# ---- serving


async def test_requests_on_one_connection_are_served_with_tls(tmp_path):
    async with (
        running(issued(tmp_path, "localhost")) as server,
        await connected(server.port) as stream,
    ):
        for _ in range(3):
            await stream.send(ASK)
            assert b"https end" in await until(stream, b"0\r\n\r\n")
        version = stream.extra(anyio.streams.tls.TLSAttribute.tls_version)
    assert version == "TLSv1.3"


async def test_a_loop_that_watches_no_socket_serves_tls_by_its_own_server(tmp_path, monkeypatch):
    monkeypatch.setattr("plugway_http.server.accept._WITHOUT_READERS", asyncio.AbstractEventLoop)
    files = issued(tmp_path, "localhost")
    async with running(files) as server:
        assert await names_shown(server.port) == ["localhost"]
        issued(tmp_path, "localhost", "new.test")
        server.reload()
        assert "new.test" in await renewed(server.port, "new.test")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_of_tls_are_refused(tmp_path, version):
    context = trusts()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        context.minimum_version = context.maximum_version = version
    async with running(issued(tmp_path, "localhost")) as server:
        with pytest.raises((ssl.SSLError, anyio.EndOfStream)):
            await connected(server.port, context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        await (await connected(server.port, context)).aclose()


async def test_a_client_that_offers_http2_gets_http_1(tmp_path):
    context = trusts()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        running(issued(tmp_path, "localhost")) as server,
        await connected(server.port, context) as stream,
    ):
        assert stream.extra(anyio.streams.tls.TLSAttribute.alpn_protocol) == "http/1.1"


async def test_a_slow_reader_gets_the_whole_reply_before_the_connection_closes(tmp_path):
    async with (
        running(issued(tmp_path, "localhost")) as server,
        await connected(server.port) as stream,
    ):
        await stream.send(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = bytearray()
        with suppress(anyio.EndOfStream):
            while True:
                received += await stream.receive(20_000)
                await anyio.lowlevel.checkpoint()
    assert received.count(b"x") == 10_000_000
    assert received.endswith(b"0\r\n\r\n")


async def test_a_closing_reply_does_not_keep_an_http_1_0_client_waiting(tmp_path):
    async with (
        running(issued(tmp_path, "localhost"), linger_seconds=15) as server,
        await connected(server.port) as stream,
    ):
        await stream.send(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        received = b""
        with anyio.fail_after(5), suppress(anyio.EndOfStream):
            while True:
                received += await stream.receive()
    assert received.endswith(b"https end")


# ---- clients that do not complete a handshake


async def test_plain_http_is_told_to_use_https_and_logs_nothing(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    async with (
        running(issued(tmp_path, "localhost")) as server,
        await anyio.connect_tcp("127.0.0.1", server.port) as stream,
    ):
        body = b"x" * 300_000
        head = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        await stream.send(head % len(body) + body)
        answer = await until(stream, b"https://")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"speaks HTTPS" in answer
    assert caplog.records == []


async def test_garbage_and_a_client_that_distrusts_log_nothing(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    async with running(issued(tmp_path, "localhost")) as server:
        with pytest.raises(ssl.SSLError):
            await connected(server.port, ssl.create_default_context())
        for data in (b"\x16garbage" * 100, b"\0\0\0", b"\x16\x03\x01\xff\xff", b"\x80"):
            async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                await stream.send(data)
                await stream.send_eof()
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    await stream.receive()
        async with await anyio.connect_tcp("127.0.0.1", server.port):
            pass
        assert await names_shown(server.port) == ["localhost"]
    assert caplog.records == []


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=[0, 1, 6])
async def test_a_client_that_stalls_in_its_handshake_is_dropped_and_holds_nobody(tmp_path, sent):
    async with running(issued(tmp_path, "localhost"), head_seconds=1.5) as server:
        stalled = [await anyio.connect_tcp("127.0.0.1", server.port) for _ in range(20)]
        for stream in stalled:
            if sent:
                await stream.send(sent)
        with anyio.fail_after(1.3):
            assert await names_shown(server.port) == ["localhost"]
        with anyio.fail_after(5):
            for stream in stalled:
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()
                await stream.aclose()
        assert not server._shared.connections


async def test_a_server_stops_although_clients_stall_or_are_idle(tmp_path):
    async with running(issued(tmp_path, "localhost"), head_seconds=60) as server:
        idle = await connected(server.port)
        await idle.send(ASK)
        await until(idle, b"0\r\n\r\n")
        stalled = await anyio.connect_tcp("127.0.0.1", server.port)
        silent = await anyio.connect_tcp("127.0.0.1", server.port)
        await stalled.send(b"\x16\x03\x01")
        began = time.monotonic()
        server.stop()
    assert time.monotonic() - began < 6
    for stream in (stalled, silent, idle):
        with suppress(anyio.BrokenResourceError, ssl.SSLError):
            await stream.aclose()


# ---- renewal


async def test_a_stream_survives_a_renewal_and_new_handshakes_see_the_new_certificate(
    tmp_path, caplog
):
    caplog.set_level(logging.INFO, "plugway")
    app = App()
    async with (
        running(issued(tmp_path, "localhost"), app) as server,
        await connected(server.port) as stream,
    ):
        await stream.send(ASK.replace(b"/ ", b"/stream "))
        await until(stream, b"begin")
        issued(tmp_path, "localhost", "new.test")
        server.reload()
        assert "new.test" in await renewed(server.port, "new.test")
        app.end.set()
        assert b"https end" in await until(stream, b"0\r\n\r\n")
    (line,) = [record.message for record in caplog.records if record.name == "plugway.server"]
    assert line.startswith("the renewed certificate is in use until ")


async def test_a_pair_that_is_still_being_written_is_no_warning(tmp_path, caplog):
    (new := tmp_path / "new").mkdir()
    files = issued(new, "localhost", "new.test")
    async with running(issued(tmp_path, "localhost")) as server:
        shutil.copy(files.certificate, tmp_path)
        server.reload()
        await anyio.sleep(0.1)
        shutil.copy(files.key, tmp_path)
        assert "new.test" in await renewed(server.port, "new.test")
    assert "kept the old certificate" not in caplog.text


async def test_renewed_files_are_noticed(tmp_path):
    async with running(issued(tmp_path, "localhost")) as server:
        issued(tmp_path, "localhost", "new.test")
        with anyio.fail_after(10):
            while "new.test" not in await names_shown(server.port):
                await anyio.sleep(0.1)


def by_new_link(folder, live):
    """As certbot: `live` leads to numbered files, and gets a new target."""
    (new := folder / "2").mkdir()
    issued(new, "localhost", "new.test")
    (folder / "next").symlink_to(new)
    (folder / "next").replace(live)


def by_new_folder(folder, live):
    target = live.resolve()
    shutil.rmtree(target)
    target.mkdir()
    issued(target, "localhost", "new.test")


@pytest.mark.parametrize("renew", [by_new_link, by_new_folder])
async def test_files_behind_a_link_or_in_a_new_folder_are_noticed(tmp_path, renew):
    (first := tmp_path / "1").mkdir()
    issued(first, "localhost")
    (live := tmp_path / "live").symlink_to(first)
    async with running(CertificateFiles(live / "cert.pem", live / "key.pem")) as server:
        renew(tmp_path, live)
        with anyio.fail_after(10):
            while "new.test" not in await names_shown(server.port):
                await anyio.sleep(0.1)


async def test_an_intermediate_certificate_that_was_missing_is_sent_once_it_is_added(tmp_path):
    leaf = AUTHORITY.create_child_ca().issue_cert("localhost")
    files = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    files.certificate.write_bytes(leaf.cert_chain_pems[0].bytes())
    files.key.write_bytes(leaf.private_key_pem.bytes())
    client = ssl.create_default_context()
    AUTHORITY.configure_trust(client)
    async with running(files) as server:
        with pytest.raises(ssl.SSLError):
            await anyio.connect_tcp(
                "127.0.0.1", server.port, ssl_context=client, tls_hostname="localhost"
            )
        files.certificate.write_bytes(b"".join(one.bytes() for one in leaf.cert_chain_pems))
        server.reload()
        with anyio.fail_after(10):
            while True:
                with suppress(ssl.SSLError):
                    stream = await anyio.connect_tcp(
                        "127.0.0.1", server.port, ssl_context=client, tls_hostname="localhost"
                    )
                    await stream.aclose()
                    break


def expired(folder):
    then = datetime.datetime(2020, 1, 1), datetime.datetime(2020, 2, 1)
    issued(folder, "localhost", not_before=then[0], not_after=then[1])


def future(folder):
    issued(folder, "localhost", not_before=datetime.datetime(2999, 1, 1))


def half_written(folder):
    key = (folder / "key.pem").read_bytes()
    issued(folder, "localhost")
    (folder / "key.pem").write_bytes(key)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (half_written, "key.pem is not the key of"),
        (expired, "cert.pem expired on 2020-02-01"),
        (future, "cert.pem is not valid before 2999-01-01"),
        (lambda folder: (folder / "cert.pem").write_text("x"), "cert.pem is not a certificate"),
        (lambda folder: (folder / "key.pem").unlink(), "cannot read"),
    ],
    ids=["half-written", "expired", "future", "garbage", "gone"],
)
async def test_renewed_files_that_do_not_fit_keep_the_old_certificate(
    tmp_path, caplog, spoil, words
):
    async with running(issued(tmp_path, "localhost", "old.test")) as server:
        spoil(tmp_path)
        server.reload()
        while not caplog.records:
            assert "old.test" in await names_shown(server.port)
        assert "old.test" in await names_shown(server.port)
        (line,) = caplog.messages
        assert "kept the old certificate because" in line
        assert words in line
        issued(tmp_path, "localhost", "new.test")
        server.reload()
        assert "new.test" in await renewed(server.port, "new.test")


async def test_a_certificate_that_is_not_valid_yet_is_used_from_its_first_second_on(
    tmp_path, caplog
):
    """As from a machine whose clock is ahead."""
    async with running(issued(tmp_path, "localhost", "old.test")) as server:
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
        issued(tmp_path, "localhost", "new.test", not_before=soon)
        server.reload()
        while not caplog.records:
            assert "old.test" in await names_shown(server.port)
        assert "it is used from then on" in caplog.messages[0]
        assert "new.test" in await renewed(server.port, "new.test")


# ---- loading


def refused(files):
    with pytest.raises(CertificateError) as caught:
        files.load()
    return caught.value


def test_a_missing_file_is_named(tmp_path):
    files = issued(tmp_path, "localhost")
    files.key.unlink()
    error = refused(files)
    assert (error.part, str(files.key) in error.reason) == ("key", True)
    assert "No such file" in error.reason
    files.certificate.unlink()
    assert refused(files).part == "certificate"


@pytest.mark.parametrize("password", ["", "wrong"])
def test_an_encrypted_key_needs_its_password(tmp_path, password):
    files = issued(tmp_path, "localhost")
    openssl(
        tmp_path, *["rsa", "-aes256", "-passout", "pass:right", "-in", "key.pem", "-out", "new.pem"]
    ) if (b"RSA" in files.key.read_bytes()) else openssl(
        tmp_path, *["ec", "-aes256", "-passout", "pass:right", "-in", "key.pem", "-out", "new.pem"]
    )
    encrypted = tmp_path / "new.pem"
    error = refused(CertificateFiles(files.certificate, encrypted, password))
    assert error.part == "key"
    assert "password" in f"{error.reason} {error.fix}"
    assert CertificateFiles(files.certificate, encrypted, "right").load().names == ("localhost",)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("rsa:1024", "EE_KEY_TOO_SMALL"),
        ("rsa:2048 -addext extendedKeyUsage=clientAuth", "purpose"),
    ],
)
def test_a_certificate_that_no_client_would_accept_is_refused(tmp_path, words, reason):
    ask = f"req -x509 -nodes -subj /CN=x -keyout key.pem -out cert.pem -newkey {words}"
    openssl(tmp_path, *ask.split())
    error = refused(CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem"))
    assert error.part == "certificate"
    assert reason in error.reason


def test_a_password_that_no_key_can_have_is_an_error_of_the_key(tmp_path):
    files = issued(tmp_path, "localhost")
    openssl(
        tmp_path,
        *["pkcs8", "-topk8", "-passout", "pass:right", "-in", "key.pem", "-out", "new.pem"],
    )
    encrypted = CertificateFiles(files.certificate, tmp_path / "new.pem", "x" * 1025)
    assert refused(encrypted).part == "key"


def test_the_order_of_a_chain_is_named_as_a_cause(tmp_path):
    files = issued(tmp_path, "localhost")
    wrong = AUTHORITY.cert_pem.bytes() + files.certificate.read_bytes()
    files.certificate.write_bytes(wrong)
    assert "server's certificate first" in refused(files).fix


def test_a_file_that_is_removed_while_it_is_loaded_is_named(tmp_path, monkeypatch):
    files = issued(tmp_path, "localhost")
    content = b"content"
    monkeypatch.setattr(type(files.key), "read_bytes", lambda path: content)
    files.certificate.unlink()
    error = refused(files)
    assert (error.part, "No such file" in error.reason) == ("certificate", True)


def test_a_file_without_a_key_is_named(tmp_path):
    files = issued(tmp_path, "localhost")
    error = refused(CertificateFiles(files.certificate, files.certificate))
    assert (error.part, "is not a private key" in error.reason) == ("key", True)


def test_names_are_checked_as_clients_do(tmp_path):
    found = issued(tmp_path, "llm.example.com", "*.example.org", "127.0.0.1", "::1").load()
    assert all(map(found.covers, ("llm.example.com", "a.example.org", "127.0.0.1", "::1")))
    refused_ones = ("example.com", "a.b.example.org", "127.0.0.2", "", "a b", "x" * 300)
    assert not any(map(found.covers, refused_ones))
    (flaw,) = found.flaws(["llm.example.com", "other.test"])
    assert "is not valid for other.test, but for llm.example.com" in flaw[0]


def test_a_name_only_in_the_subject_does_not_count(tmp_path):
    ask = "req -x509 -nodes -subj /CN=old.test -keyout key.pem -out cert.pem -newkey rsa:2048"
    openssl(tmp_path, *ask.split())
    found = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem").load()
    assert found.self_signed
    assert not found.is_trusted
    (flaw,) = found.flaws(["old.test"])
    assert "no `subjectAltName`" in flaw[0]


def test_a_certificate_that_ends_soon_is_reported(tmp_path):
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5, hours=1)
    (flaw,) = issued(tmp_path, "a.test", not_after=end).load().flaws(["a.test"])
    assert "expires in 5 days" in flaw[0]
    expired(tmp_path)
    files = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    (flaw,) = files.load().flaws(["localhost"])
    assert "expired on 2020-02-01" in flaw[0]


async def test_a_port_that_others_flood_with_handshakes_still_answers(tmp_path):
    async with running(issued(tmp_path, "localhost")) as server:
        flood = []
        for _ in range(100):
            one = socket.create_connection(("127.0.0.1", server.port))
            one.sendall(b"\x16\x03\x01\x02\x00")
            flood.append(one)
        with anyio.fail_after(5):
            assert await names_shown(server.port) == ["localhost"]
        for one in flood:
            one.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_from_before_a_renewal_is_resumed_or_renegotiated(tmp_path, version):
    context = trusts()
    context.minimum_version = context.maximum_version = version

    def ask(session=None):
        sock = socket.create_connection(("127.0.0.1", server.port))
        with context.wrap_socket(sock, server_hostname="localhost", session=session) as secure:
            secure.sendall(ASK)
            received = b""
            while b"0\r\n\r\n" not in received:
                received += secure.recv(65536)
            return secure.session, received

    async with running(issued(tmp_path, "localhost")) as server:
        session, _ = await anyio.to_thread.run_sync(ask)
        issued(tmp_path, "localhost", "new.test")
        server.reload()
        assert "new.test" in await renewed(server.port, "new.test")
        _, received = await anyio.to_thread.run_sync(ask, session)
        assert b"https end" in received
