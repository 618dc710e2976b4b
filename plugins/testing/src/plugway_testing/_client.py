"""An HTTP/1.1 client with access to the raw bytes: any request, chunking and way to disconnect.

It reads from the socket only when asked, so unread data stays in the kernel's buffer and the server
experiences back-pressure.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from plugway_testing._wire import ChunkedDecoder, Event, parse_sse

_READ: Final = 64 * 1024
Ending: TypeAlias = Literal["open", "fin", "reset"]


@dataclass
class RawResponse:
    """One response, as far as it was read."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    """In order, with names as sent."""
    head: bytes
    """The exact bytes of the status line and the headers, including the blank line."""
    body: bytes = b""
    """The body received so far, without transfer coding."""
    arrivals: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """For each read that returned body bytes: `time.monotonic()` and their number."""
    complete: bool = False
    """Whether the body ended properly: with the final chunk, or after `content-length` bytes."""
    ending: Ending = "open"
    """How the server ended the connection, as far as it was read."""
    malformed: str | None = None
    """What is wrong with the transfer coding; reading stops there."""

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        """The complete events of the body."""
        return parse_sse(self.body)

    def header(self, name: str) -> str | None:
        """The last header of that name, case-insensitive, or None."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[-1] if found else None


class RawClient:
    """One connection to a server. Nothing is read or sent unless a method is called.

    `receive_buffer` is the size of the kernel's receive buffer in bytes: a tiny one stalls the
    server's writes after a few kilobytes.

    >>> async with RawClient(gateway.url) as client:
    ...     await client.send(messages_request({"model": "m", ...}, token=gateway.token))
    ...     await client.read_until(b"content_block_delta")
    ...     client.abort()
    """

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._receive_buffer = receive_buffer
        self._socket: socket.socket | None = None
        self._waiting = b""
        self._body_less = False
        self._decoder: ChunkedDecoder | None = None
        self.response: RawResponse | None = None
        """The current response; None until its head was read."""

    async def __aenter__(self) -> RawClient:
        """Connect."""
        # Numeric loopback addresses only, to avoid name lookups.
        found = socket.socket(socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET)
        found.setblocking(False)
        if self._receive_buffer is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(found, self._address)
        except BaseException:
            found.close()
            raise
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = found
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection if it is open."""
        self.close()

    async def send(self, data: bytes, *, piece: int | None = None, delay: float = 0.0) -> None:
        """Send bytes, in pieces of `piece` bytes with `delay` seconds between them.

        The first bytes of a request make the next response the current one.
        """
        if self.response is None or self.response.complete:
            self._body_less = data.startswith(b"HEAD ")
            self.response = self._decoder = None
        loop = asyncio.get_running_loop()
        size = piece or len(data) or 1
        for start in range(0, len(data), size):
            if start:
                await asyncio.sleep(delay)
            await loop.sock_sendall(self._connected(), data[start : start + size])

    async def read_head(self, *, seconds: float = 5) -> RawResponse:
        """Read the next response head; skip informational ones (1xx).

        Raises `ConnectionError` if the server disconnects first, `TimeoutError` after `seconds`.
        """
        async with asyncio.timeout(seconds):
            while self.response is None:
                head, end, rest = self._waiting.partition(b"\r\n\r\n")
                if not end:
                    await self._more_head()
                    continue
                self._waiting = b""
                self._begin(head + end, rest)
        return self.response

    async def read_until(self, pattern: bytes = b"", *, seconds: float = 5) -> RawResponse:
        """Read until the body contains `pattern` or is complete, or the server disconnects."""
        response = await self.read_head(seconds=seconds)
        async with asyncio.timeout(seconds):
            while not (pattern and pattern in response.body) and await self._more_body(response):
                pass
        return response

    async def read_bytes(self, count: int, *, seconds: float = 5) -> RawResponse:
        """Read until the body has `count` bytes or is complete, or the server disconnects."""
        response = await self.read_head(seconds=seconds)
        async with asyncio.timeout(seconds):
            while len(response.body) < count and await self._more_body(response):
                pass
        return response

    async def read(self, *, seconds: float = 10) -> RawResponse:
        """Read the complete response, or what arrives before the server disconnects.

        >>> assert (await client.read()).complete
        """
        return await self.read_until(seconds=seconds)

    async def wait_closed(self, *, seconds: float = 5) -> Ending:
        """Discard everything until the server disconnects; return how it did."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if not await asyncio.get_running_loop().sock_recv(self._connected(), _READ):
                        return "fin"
                except ConnectionError:
                    return "reset"

    def finish(self) -> None:
        """Send FIN, and keep receiving."""
        self._connected().shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Disconnect with a reset (RST). Cancel a pending read first."""
        linger = struct.pack("ii", 1, 0)
        self._connected().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self) -> None:
        """Disconnect. The kernel sends a reset if bytes are unread."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("the client is not connected")
        return self._socket

    async def _more_head(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._connected(), _READ)
        if not data:
            raise ConnectionError(f"the server disconnected before a head; got {self._waiting!r}")
        self._waiting += data

    def _begin(self, head: bytes, rest: bytes) -> None:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        _, status, reason = [*first.split(" ", 2), "", ""][:3]
        pairs = [line.partition(":") for line in lines]
        headers = [(name, value.strip(" \t")) for name, _, value in pairs]
        response = RawResponse(int(status), reason, headers, head)
        if 100 <= response.status < 200:
            self._waiting = rest
            return
        self.response = response
        if "chunked" in (response.header("transfer-encoding") or "").lower():
            self._decoder = ChunkedDecoder()
        if self._body_less or response.status in (204, 304):
            response.complete, self._waiting = True, rest
        else:
            self._take(response, rest)

    async def _more_body(self, response: RawResponse) -> bool:
        """Read once; False if there is nothing more to read."""
        if response.complete or response.malformed or response.ending != "open":
            return False
        try:
            data = await asyncio.get_running_loop().sock_recv(self._connected(), _READ)
        except ConnectionError:
            response.ending = "reset"
            return False
        if not data:
            response.ending = "fin"
            framed = self._decoder is not None or response.header("content-length") is not None
            response.complete = not framed
            return False
        self._take(response, data)
        return True

    def _take(self, response: RawResponse, data: bytes) -> None:
        length = response.header("content-length")
        if self._decoder is not None:
            try:
                body = self._decoder.feed(data)
            except ValueError as problem:
                response.malformed = str(problem)
                return
            response.complete, self._waiting = self._decoder.done, self._decoder.rest
        elif length is not None:
            missing = int(length) - len(response.body)
            body, self._waiting = data[:missing], data[missing:]
            response.complete = len(body) == missing
        else:
            body = data
        if body:
            response.body += body
            response.arrivals.append((time.monotonic(), len(body)))


def messages_request(
    body: Mapping[str, object] | bytes,
    token: str | None = None,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    path: str = "/v1/messages",
    host: str = "127.0.0.1",
) -> bytes:
    """Build the bytes of a `POST /v1/messages`. `headers` come last, in the given order.

    >>> messages_request({"model": "m", "max_tokens": 9, "messages": [...]}, token="t")
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {host}",
        "content-type: application/json",
        "anthropic-version: 2023-06-01",
        f"content-length: {len(content)}",
    ]
    if token is not None:
        lines.append(f"authorization: Bearer {token}")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content
