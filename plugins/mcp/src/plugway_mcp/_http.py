"""The SDK's transport to a server with a URL, bounded as the one to a child process is.

Redirects to other origins are not followed (the SDK), so keys go where the configuration says only.
The SDK (2.3.0) unpacks what a server compresses without a limit, has a task for each notification
and request of a server, and goes on with a session that the server has forgotten.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import anyio
import httpx2
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest

from plugway_mcp._messages import CHANGED, MAX_ASKED, bounded
from plugway_mcp._options import ServerOptions, plain

MAX_RESPONSE: Final = 16 * 2**20
"""Longest JSON response in bytes; of a stream, the longest event."""


class NotAccepted(httpx2.StreamError):
    """A response that is longer than accepted, or compressed."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, *, compressed: bool) -> None:
        self._inner = inner
        self._compressed = compressed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._compressed:
            raise NotAccepted("the response is compressed, which was not asked for")
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MAX_RESPONSE:
                raise NotAccepted(f"the response has more than {MAX_RESPONSE:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    def __init__(self, forgotten: Callable[[], None]) -> None:
        super().__init__()
        self._forgotten = forgotten

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        known = request.method == "POST" and MCP_SESSION_ID in request.headers
        if known and response.status_code == 404:
            self._forgotten()  # the meaning of 404 for a session's id in the specification of MCP
        packing = response.headers.pop("content-encoding", "identity").strip().lower()
        kind = response.headers.get("content-type", "")
        compressed = packing not in ("", "identity")
        if (compressed or not kind.startswith("text/event-stream")) and isinstance(
            response.stream, httpx2.AsyncByteStream
        ):
            response.stream = _Bounded(response.stream, compressed=compressed)
        return response


class _Asked:
    """Requests of the server that wait for our answer."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        self.waiting = 0
        self.fail = fail


class _Side:
    """One direction of a session with a server."""

    def __init__(self, inner: Any, asked: _Asked) -> None:
        self._inner = inner
        self._asked = asked

    async def aclose(self) -> None:
        """End it."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Heard(_Side):
    """What the server says, without notifications that nobody wants; bounded."""

    @property
    def last_context(self) -> Any:
        """Used by the SDK."""
        return self._inner.last_context

    async def receive(self) -> SessionMessage | Exception:
        """The next message. Raises `anyio.EndOfStream`."""
        while True:
            item: SessionMessage | Exception = await self._inner.receive()
            message = item.message if isinstance(item, SessionMessage) else None
            if isinstance(message, JSONRPCNotification) and message.method != CHANGED:
                continue
            if isinstance(message, JSONRPCRequest):
                self._asked.waiting += 1
                if self._asked.waiting > MAX_ASKED:
                    self._asked.fail("it sends requests without reading the answers")
                    raise anyio.EndOfStream
            if message is not None:
                bounded(message)
            return item

    def __aiter__(self) -> _Heard:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class _Said(_Side):
    """What we say to the server."""

    async def send(self, item: SessionMessage, /) -> None:
        """Send a message."""
        await self._inner.send(item)
        if not isinstance(item.message, (JSONRPCRequest, JSONRPCNotification)):
            self._asked.waiting -= 1


@asynccontextmanager
async def http_streams(
    options: ServerOptions, *, fail: Callable[[str], None], forgotten: Callable[[], None]
) -> AsyncGenerator[Any]:
    """The streams of a session with the server at `options.url`. `fail` gets the reason when the
    server has to be given up; `forgotten` is called when it no longer knows the session."""
    headers = {name: plain(value) for name, value in options.headers.items()}
    if options.bearer is not None:
        headers["authorization"] = f"Bearer {plain(options.bearer)}"
    timeout = httpx2.Timeout(options.timeout_seconds, connect=min(10, options.start_seconds))
    asked = _Asked(fail)
    async with (
        httpx2.AsyncClient(
            headers={**headers, "accept-encoding": "identity"},
            timeout=timeout,
            transport=_Transport(forgotten),
            trust_env=False,
        ) as client,
        streamable_http_client(
            options.url or "", http_client=client, max_sse_event_size=MAX_RESPONSE
        ) as (read, write),
    ):
        yield _Heard(read, asked), _Said(write, asked)
