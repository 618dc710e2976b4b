"""A forward proxy as companies have them: `CONNECT` for https, whole URLs for http."""

import asyncio
import base64
from urllib.parse import urlsplit

import httptools


class ForwardProxy:
    """Leads wherever it is asked to; `login` is what it wants to see, `refuses` a status, `tls` a
    context, for `localhost`, if TLS is to be spoken with it."""

    def __init__(self, *, login="", refuses=0, tls=None):
        self.tls = tls
        self.wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""
        self.refuses = refuses
        self.asked = []
        """Method and target of each request."""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        own = "https://localhost" if self.tls else "http://127.0.0.1"
        self.url = f"{own}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b" ", 2)
            self.asked.append((method.decode(), target.decode()))
            status = self._status(head)
            if status != 200:
                writer.write(b"HTTP/1.1 %d Refused\r\ncontent-length: 0\r\n\r\n" % status)
            elif method == b"CONNECT":
                host, _, port = target.rpartition(b":")
                await self._tunnel(reader, writer, host.decode(), int(port))
            else:
                await self._forward(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _status(self, head):
        lines = head.decode("latin-1").lower().split("\r\n")
        if self.wanted and f"proxy-authorization: {self.wanted}".lower() not in lines:
            return 407
        return self.refuses or 200

    async def _tunnel(self, reader, writer, host, port):
        there, back = await asyncio.open_connection(host, port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await _first_end(pump(reader, back), pump(there, writer))

    async def _forward(self, head, reader, writer):
        target = urlsplit(head.split(b" ", 2)[1].decode())
        there, back = await asyncio.open_connection(target.hostname, target.port or 80)
        await _first_end(_pump_requests(head, reader, back), pump(there, writer))


async def _first_end(*pumps):
    tasks = [asyncio.create_task(pump) for pump in pumps]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        if reader.exception() is not None:
            writer.transport.abort()
        writer.close()


class _Requests:
    """Requests with whole URLs, as the server itself wants to see them."""

    def __init__(self, writer):
        self.writer = writer
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self):
        self.url, self.lines = b"", []

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        if not name.lower().startswith(b"proxy-"):
            self.lines.append(name + b": " + value)

    def on_headers_complete(self):
        path = b"/" + self.url.split(b"/", 3)[3]
        first = self.parser.get_method() + b" " + path + b" HTTP/1.1"
        self.writer.write(b"\r\n".join([first, *self.lines, b"", b""]))

    def on_body(self, body):
        self.writer.write(body)


async def _pump_requests(head, reader, writer):
    requests = _Requests(writer)
    data = head
    try:
        while data:
            requests.parser.feed_data(data)
            await writer.drain()
            data = await reader.read(65536)
    finally:
        writer.close()
