"""A TLS proxy in front of a gateway, whose certificate can be renewed."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress

import trustme


class TlsProxy:
    """Terminates TLS for `localhost`, with certificates of its own authority."""

    def __init__(self):
        self.authority = trustme.CA()
        self.target = self.port = 0
        self._server = None

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    @property
    def trust(self):
        """For clients."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    async def renew(self):
        """Present another certificate from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost").configure_cert(context)
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_server(self._serve, "localhost", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        inner, outer = await asyncio.open_connection("127.0.0.1", self.target)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(_pipe(reader, outer), _pipe(inner, writer))

    @asynccontextmanager
    async def started(self):
        await self.renew()
        try:
            yield self
        finally:
            self._server.close()


async def _pipe(source, target):
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    finally:
        target.close()
