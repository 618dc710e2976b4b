"""No library logs a credential, at whatever level and to whatever handler."""

import asyncio
import base64
import logging
import ssl
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
import trustme

from plugway import BackendError, NetworkOptions, Upstream
from plugway.testing import respond
from tests.kernel.forward_proxy import ForwardProxy, SocksProxy
from tests.kernel.http2_server import answering

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

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
    heads, tasks = [], []
    answer = answering(heads, b"ok", ("set-cookie", KEY)) if http2 else answer_in_http_1

    async def serve(reader, writer):
        tasks.append(asyncio.current_task())
        await answer(reader, writer)
        await writer.wait_closed()

    started = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    async with started:
        yield f"https://localhost:{started.sockets[0].getsockname()[1]}"
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(head[b"x-api-key"] == KEY.encode() for head in heads)


PROXIES = {"socks": SocksProxy, "http": ForwardProxy}


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("login", [LOGIN, f"{USER}:{PASSWORD}-wrong"])
@pytest.mark.parametrize("kind", PROXIES)
async def test_no_log_line_carries_a_credential(tmp_path, told, kind, login, http2):
    async with a_server(tmp_path, http2=http2) as url, PROXIES[kind](login=LOGIN) as proxy:
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
    import plugway_http.client.general  # noqa: F401, PLC0415

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
