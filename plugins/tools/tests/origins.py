"""Servers that a proxy relays to, and raw requests to the proxy."""

import asyncio
from contextlib import asynccontextmanager


class Origin:
    """A server on loopback that answers every request with `answer(head)`, given as bytes."""

    def __init__(self, answer=None, *, host="127.0.0.1", tls=None):
        self._answer = answer or (lambda _: page("hello"))
        self._host, self._tls = host, tls
        self.heads = []
        """Head of each request, as text."""
        self.left = asyncio.Event()
        """A client has closed its connection."""
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.place = f"{self._host}:{self.port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            answer = self._answer(head)
            if callable(answer):
                await answer(reader, writer)
            else:
                writer.write(answer)
            await writer.drain()
            if not answer:
                await reader.read()
                self.left.set()
        except (OSError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()


def page(text, status=200, *lines):
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(text)}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n" + text).encode()


@asynccontextmanager
async def connected(url):
    """Reader and writer of a connection to the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(url, raw):
    """Everything that the proxy sends until it closes."""
    async with connected(url) as (reader, writer):
        writer.write(raw)
        return (await reader.read()).decode()


async def response(reader):
    """One response with its length declared: its head and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(
        (
            int(line[15:])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length")
        ),
        0,
    )
    return head, (await reader.readexactly(length)).decode()


def get(url, *lines, method="GET"):
    return "\r\n".join(
        [f"{method} {url} HTTP/1.1", "Host: ignored.example", *lines, "", ""]
    ).encode()


def closing(url, *lines, method="GET"):
    return get(url, "Connection: close", *lines, method=method)
