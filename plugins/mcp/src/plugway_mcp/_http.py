"""The SDK's transport to a server with a URL, with a limit for whole responses.

Redirects to other origins are not followed (the SDK), so keys go where the configuration says only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from mcp.client.streamable_http import streamable_http_client

from plugway_mcp._options import ServerOptions, plain

MAX_RESPONSE: Final = 16 * 2**20
"""Longest JSON response in bytes; of a stream, the longest event."""


class TooLong(httpx2.StreamError):
    """A response is longer than accepted."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MAX_RESPONSE:
                raise TooLong(f"the response has more than {MAX_RESPONSE:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream") and isinstance(
            response.stream, httpx2.AsyncByteStream
        ):
            response.stream = _Bounded(response.stream)
        return response


@asynccontextmanager
async def http_streams(options: ServerOptions) -> AsyncGenerator[Any]:
    """The streams of a session with the server at `options.url`."""
    headers = {name: plain(value) for name, value in options.headers.items()}
    if options.bearer is not None:
        headers["authorization"] = f"Bearer {plain(options.bearer)}"
    timeout = httpx2.Timeout(options.timeout_seconds, connect=min(10, options.start_seconds))
    async with (
        httpx2.AsyncClient(
            headers={**headers, "accept-encoding": "identity"},
            timeout=timeout,
            transport=_Transport(),
            trust_env=False,
        ) as client,
        streamable_http_client(
            options.url or "", http_client=client, max_sse_event_size=MAX_RESPONSE
        ) as streams,
    ):
        yield streams
