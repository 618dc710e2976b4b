"""No library logs a credential, at whatever level and to whatever handler."""

import asyncio
import base64
import logging
import ssl
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from plugway import BackendError, NetworkOptions, Upstream
from plugway.testing import respond
from tests.kernel.forward_proxy import ForwardProxy, pump

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(20)]

USER, PASSWORD, KEY = "hidden-user", "hidden/pass:word", "hidden-key-of-the-api"
LOGIN = f"{USER}:{PASSWORD}"
FORMS = {
    *(USER, PASSWORD, KEY, quote(PASSWORD, safe="")),
    *(base64.b64encode(text.encode()).decode() for text in (LOGIN, PASSWORD, KEY)),
    *(text.encode().hex() for text in (USER, PASSWORD, KEY)),
}


class Told(logging.Handler):
    """Keeps all that anybody logs."""

    def __init__(self):
        super().__init__(logging.NOTSET)
        self.texts = []

    def emit(self, record):
        self.texts.append(f"{record.getMessage()} {vars(record)!r}")


@pytest.fixture
def told():
    """What is logged while every logger that there is has level 1, and hands it on."""
    handler, root = Told(), logging.getLogger()
    names = [name for name in root.manager.loggerDict if not name.startswith("asyncio")]
    loggers = [root, *map(logging.getLogger, names)]
    before = [(one, one.level, one.disabled, one.propagate) for one in loggers]
    for one in loggers:
        one.setLevel(1)
        one.disabled, one.propagate = False, True
        one.addHandler(handler)
    yield handler
    for one, level, disabled, propagate in before:
        one.removeHandler(handler)
        one.setLevel(level)
        one.disabled, one.propagate = disabled, propagate


class SocksProxy:
    """Wants a login (RFC 1928 and 1929), and takes `LOGIN` alone."""

    async def __aenter__(self):
        self.pumps = []
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"socks5://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await asyncio.gather(*self.pumps, return_exceptions=True)

    async def _serve(self, reader, writer):
        assert await reader.readexactly(3) == b"\x05\x01\x02"
        writer.write(b"\x05\x02")
        version, size = await reader.readexactly(2)
        user = await reader.readexactly(size)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        fits = (version, user + b":" + password) == (1, LOGIN.encode())
        writer.write(b"\x01" + (b"\0" if fits else b"\x01"))
        if not fits:
            writer.close()
            return
        *_, length = await reader.readexactly(5)
        host, port = await reader.readexactly(length), await reader.readexactly(2)
        there, back = await asyncio.open_connection(host.decode(), int.from_bytes(port))
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        self.pumps += [asyncio.create_task(pump(there, writer))]
        self.pumps += [asyncio.create_task(pump(reader, back))]


async def answer_in_http_2(reader, writer):
    side = H2Connection(H2Configuration(client_side=False))
    side.initiate_connection()
    while not reader.at_eof():
        writer.write(side.data_to_send())
        for event in side.receive_data(await reader.read(65536)):
            if isinstance(event, RequestReceived):
                assert (b"x-api-key", KEY.encode()) in event.headers
            if isinstance(event, StreamEnded):
                side.send_headers(event.stream_id, [(":status", "200"), ("set-cookie", KEY)])
                side.send_data(event.stream_id, b"ok", end_stream=True)
        writer.write(side.data_to_send())
    writer.close()


async def answer_in_http_1(reader, writer):
    assert KEY.encode() in await reader.readuntil(b"\r\n\r\n{}")
    writer.write(respond(200, b"ok", headers=(("set-cookie", KEY),))[0])
    await reader.read()
    writer.close()


@asynccontextmanager
async def a_server(folder, *, http2):
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"] if http2 else ["http/1.1"])
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    answer = answer_in_http_2 if http2 else answer_in_http_1
    tasks = []

    async def serve(reader, writer):
        tasks.append(asyncio.current_task())
        await answer(reader, writer)
        await writer.wait_closed()

    started = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    async with started:
        yield f"https://localhost:{started.sockets[0].getsockname()[1]}"
        await asyncio.gather(*tasks, return_exceptions=True)


PROXIES = {"socks": SocksProxy, "http": lambda: ForwardProxy(login=LOGIN)}


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("login", [LOGIN, f"{USER}:{PASSWORD}-wrong"])
@pytest.mark.parametrize("kind", PROXIES)
async def test_no_log_line_carries_a_credential(tmp_path, told, kind, login, http2):
    async with a_server(tmp_path, http2=http2) as url, PROXIES[kind]() as proxy:
        network = NetworkOptions(
            proxy=proxy.url, proxy_login=login, http2=http2, ca_file=tmp_path / "authority.pem"
        )
        key = {"x-api-key": KEY}
        async with Upstream(url, network=network, credentials=key) as upstream:
            for name in logging.getLogger().manager.loggerDict:
                if not name.startswith("asyncio"):
                    logging.getLogger(name).setLevel(1)
            if login == LOGIN:
                response = await upstream.request("POST", "/v1/messages", body=b"{}")
                assert await response.read() == b"ok"
                await response.aclose()
            else:
                with pytest.raises(BackendError):
                    await upstream.request("POST", "/v1/messages", body=b"{}")
    logging.getLogger("test").debug("the last line")
    assert "the last line" in told.texts[-1]
    assert [text for text in told.texts if any(form in text for form in FORMS)] == []


def test_every_logger_of_those_libraries_is_kept_from_telling():
    import plugway.upstream.general  # noqa: F401, PLC0415

    libraries = ("httpcore2", "httpx2", "hpack", "h2", "hyperframe", "socksio")
    known = logging.getLogger().manager.loggerDict
    loud = [
        name
        for name, one in known.items()
        if name.split(".")[0] in libraries
        and isinstance(one, logging.Logger)
        and one.filter(logging.makeLogRecord({"levelno": logging.INFO}))
    ]
    assert loud == []
    record = logging.makeLogRecord({"levelno": logging.WARNING})
    assert logging.getLogger("httpcore2.socks").filter(record)
