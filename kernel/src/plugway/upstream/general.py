"""Requests by a proxy, or in HTTP/2: by the transport of httpx2, which can do both.

It costs four to five times what a connection of ours does, and only who asks for it pays.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from plugway.log import silence_libraries
from plugway.types.errors import (
    BackendError,
    BackendProtocolError,
    BackendUnavailable,
    Headers,
    StreamInterrupted,
)
from plugway.upstream.connection import MAX_TAKEN_BYTES, NO_ANSWER
from plugway.upstream.network import NetworkOptions, Way, tls_context
from plugway.upstream.pool import KEEP_SECONDS, SEE_NETWORK, START_IT, tls_reason
from plugway.upstream.wire import joined

silence_libraries()
_LOGIN: Final = "set `proxy_login`, or the login in the URL that the environment names"


class GeneralTransport:
    """A transport over httpx2, to one server."""

    def __init__(
        self, where: str, options: NetworkOptions, way: Way, connect_seconds: float
    ) -> None:
        """Raises `BackendUnavailable` where a library is missing."""
        parts = urlsplit(where)
        self._where, self._way, self._seconds = where, way, connect_seconds
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._closing: set[asyncio.Task[None]] = set()
        try:
            self._transport = httpx2.AsyncHTTPTransport(
                verify=tls_context(options, own=True),
                http2=options.http2,
                proxy=_proxy_of(way, options),
                trust_env=False,
                limits=httpx2.Limits(keepalive_expiry=KEEP_SECONDS),
            )
        except ImportError:
            extra = "http2" if options.http2 else "socks"
            raise BackendUnavailable(
                f'the way to {where} needs another library: `pip install "plugway[{extra}]"`',
                permanent=True,
            ) from None

    async def ask(self, method: str, target: str, lines: Headers, body: bytes | None) -> _Answer:
        """Send a request; its answer, when the head of that is there. None is sent twice: whether
        a connection that is lost had brought a byte of an answer, httpx2 does not say."""
        joined("", lines)  # refuses what no line may hold
        to_proxy: list[str] = []

        async def trace(step: str, _: object) -> None:
            if step == "connection.start_tls.failed":  # "http_proxy.…" is that with the server
                to_proxy.append(step)

        request = httpx2.Request(
            method,
            self._origin + target,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in lines],
            content=body,
            extensions={
                "target": target.encode(),
                "timeout": {"connect": self._seconds, "read": None, "write": None, "pool": None},
                **({"trace": trace} if self._way.proxy.startswith("https:") else {}),
            },
        )
        try:
            response = await self._transport.handle_async_request(request)
        except (httpx2.TransportError, OSError) as error:
            raise self._failure(error, self._proxy if to_proxy else self._where) from error
        return _Answer(self, self._where, response)

    async def aclose(self) -> None:
        """Close every connection, whatever it is used for."""
        await self._transport.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def close(self, response: httpx2.Response) -> None:
        """Break an answer off; what there is to wait for is waited for by nobody."""
        task = asyncio.get_running_loop().create_task(_closed(response))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _failure(self, error: Exception, peer: str) -> BackendError:
        """`peer` is the one that TLS was spoken with last."""
        causes = list(_causes(error))
        tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
        if tls is not None:
            failure = BackendUnavailable(f"{peer} {tls_reason(tls)}", status=502, permanent=True)
            failure.try_next = False
            return failure
        if isinstance(error, httpx2.ProxyError):
            # What a proxy writes beside its status may quote the login.
            status = str(error)[:3] if str(error)[:3].isdecimal() else "it speaks no such protocol"
            fix = _LOGIN if status == "407" else self._fix
            return BackendUnavailable(
                f"{self._proxy} does not lead to {self._where}: {status} - {fix}", permanent=True
            )
        if isinstance(error, httpx2.RemoteProtocolError):
            if "without sending" in str(error) or "ConnectionTerminated" in str(error):
                return BackendUnavailable(f"{self._where} {NO_ANSWER}")
            return BackendProtocolError(f"{self._where} does not answer in valid HTTP: {error}")
        if isinstance(error, httpx2.ConnectTimeout):
            reason = f"did not accept the connection in time ({self._seconds:g} s)"
            return BackendUnavailable(f"{self._target} {reason} - {self._fix}")
        if isinstance(error, httpx2.ConnectError):
            refused = any(isinstance(cause, ConnectionRefusedError) for cause in causes)
            fix = START_IT if refused and not self._way.proxy else self._fix
            return BackendUnavailable(f"{self._target} cannot be reached: {error} - {fix}")
        return BackendUnavailable(f"{self._where} {NO_ANSWER}")

    @property
    def _proxy(self) -> str:
        return f"the proxy {self._way.address} ({self._way.source})"

    @property
    def _target(self) -> str:
        """What is connected to."""
        return self._proxy if self._way.proxy else self._where

    @property
    def _fix(self) -> str:
        return "see to the proxy, or set `proxy: direct`" if self._way.proxy else SEE_NETWORK


def _proxy_of(way: Way, options: NetworkOptions) -> httpx2.Proxy | None:
    if not way.proxy:
        return None
    secure = way.proxy.startswith("https:")
    return httpx2.Proxy(way.proxy, ssl_context=tls_context(options, own=True) if secure else None)


class _Answer:
    """The answer to one request, as the transport reads it."""

    def __init__(self, transport: GeneralTransport, where: str, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.lines: Headers = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in response.headers.raw
        )
        self.done = False
        self._rest = b""
        self._transport = transport
        self._where = where
        self._response = response
        stream: Any = response.stream
        self._pieces: AsyncIterator[bytes] = aiter(stream)

    async def take(self, most: int = MAX_TAKEN_BYTES) -> bytes:
        """What has arrived of the body, up to `most` bytes; empty at its end."""
        if not self._rest:
            self._rest = await self._next_piece()
        data, self._rest = self._rest[:most], self._rest[most:]
        return data

    async def _next_piece(self) -> bytes:
        if self.done:
            return b""
        try:
            while (piece := await anext(self._pieces, None)) is not None:
                if piece:
                    return piece
        except (httpx2.TransportError, OSError) as error:
            self.close()
            raise StreamInterrupted(f"{self._where} broke off its answer") from error
        self.done = True
        await self._response.aclose()
        return b""

    def close(self) -> None:
        """Let go of it: one that has not ended is broken off at once."""
        if not self.done:
            self.done = True
            self._transport.close(self._response)


async def _closed(response: httpx2.Response) -> None:
    try:
        await response.aclose()
    except (httpx2.TransportError, OSError):
        return  # it is gone already


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
