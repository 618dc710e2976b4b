"""A transport for proxies and HTTP/2, based on httpx2.

It costs four to five times as much CPU as `client/pool`, so it is used only when needed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from plugway_http.client.connection import MAX_CHUNK_BYTES, NO_RESPONSE
from plugway_http.client.errors import (
    ClientError,
    Incomplete,
    InvalidResponse,
    Unreachable,
    untrusted,
)
from plugway_http.client.network import ProxySetting, Tls
from plugway_http.client.pool import KEEP_SECONDS, SEE_NETWORK, START_IT, tls_reason
from plugway_http.wire import Headers, joined
from plugway_log import silence_libraries

silence_libraries()
_LOGIN: Final = "set `proxy_login`, or the login in the proxy URL of the environment"


class GeneralTransport:
    """A transport over httpx2, to one server."""

    def __init__(
        self, where: str, proxy: ProxySetting, tls: Tls, *, http2: bool, connect_seconds: float
    ) -> None:
        """Raises `Unreachable` if a library is missing."""
        parts = urlsplit(where)
        self._where, self._proxy, self._seconds = where, proxy, connect_seconds
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._closing: set[asyncio.Task[None]] = set()
        try:
            self._transport = httpx2.AsyncHTTPTransport(
                verify=tls.context(own=True),
                http2=http2,
                proxy=_httpx_proxy(proxy, tls),
                trust_env=False,
                limits=httpx2.Limits(keepalive_expiry=KEEP_SECONDS),
            )
        except ImportError:
            extra = "http2" if http2 else "socks"
            raise Unreachable(
                f'connecting to {where} needs another library: `pip install "httpx2[{extra}]"`',
                permanent=True,
            ) from None

    async def send(self, method: str, target: str, lines: Headers, body: bytes | None) -> _Response:
        """Send a request; returns the response when its head has arrived. It is never sent again:
        httpx2 does not report whether a lost connection had received a byte of a response."""
        joined("", lines)  # validates the headers
        limit, proxy = asyncio.timeout(None), _ProxySteps(bool(self._proxy.url))

        async def trace(step: str, info: dict[str, Any]) -> None:
            if proxy.begins(step, info) and not limit.expired():
                ends = asyncio.get_running_loop().time() + self._seconds
                limit.reschedule(ends if proxy.connecting else None)

        request = httpx2.Request(
            method,
            self._origin + target,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in lines],
            content=body,
            extensions={
                "target": target.encode(),
                "timeout": {"connect": self._seconds, "read": None, "write": None, "pool": None},
                **({"trace": trace} if self._proxy.url else {}),
            },
        )
        try:
            async with limit, proxy:
                response = await self._transport.handle_async_request(request)
        except TimeoutError as error:
            raise self._timed_out() from error
        except (httpx2.TransportError, OSError) as error:
            raise self._failure(error, proxy) from error
        except Exception as error:  # socksio's, for a proxy that speaks another protocol
            if proxy.connecting:
                raise self._no_tunnel("it sent an invalid reply") from error
            raise
        return _Response(self, self._where, response)

    async def aclose(self) -> None:
        """Close every connection, including those in use."""
        await self._transport.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def close(self, response: httpx2.Response) -> None:
        """Abort a response in the background."""
        task = asyncio.get_running_loop().create_task(_close(response))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _failure(self, error: Exception, proxy: _ProxySteps) -> ClientError:
        causes = list(_causes(error))
        tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
        if tls is not None:
            return untrusted(self._proxy_text if proxy.refused else self._where, tls_reason(tls))
        if isinstance(error, httpx2.ProxyError):
            # The proxy's text after the status may quote the login.
            status = str(error)[:3] if str(error)[:3].isdecimal() else "it sent an invalid reply"
            return self._no_tunnel(status, _LOGIN if status == "407" else "", permanent=True)
        if proxy.connecting and isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
            return self._no_tunnel("it sent an invalid reply, or none")
        if isinstance(error, httpx2.RemoteProtocolError):
            if "without sending" in str(error) or "ConnectionTerminated" in str(error):
                return Unreachable(f"{self._where} {NO_RESPONSE}")
            return InvalidResponse(f"{self._where} sent an invalid HTTP response: {error}")
        if isinstance(error, httpx2.ConnectTimeout):
            return self._timed_out()
        if isinstance(error, httpx2.ConnectError):
            refused = any(isinstance(cause, ConnectionRefusedError) for cause in causes)
            fix = START_IT if refused and not self._proxy.url else self._fix
            return Unreachable(f"cannot connect to {self._target}: {error} - {fix}")
        return Unreachable(f"{self._where} {NO_RESPONSE}")

    def _timed_out(self) -> Unreachable:
        reason = f"timed out after {self._seconds:g} s while connecting"
        return Unreachable(f"{self._target} {reason} - {self._fix}")

    def _no_tunnel(self, reason: str, fix: str = "", *, permanent: bool = False) -> Unreachable:
        return Unreachable(
            f"{self._proxy_text} cannot connect to {self._where}: {reason} - {fix or self._fix}",
            permanent=permanent,
        )

    @property
    def _proxy_text(self) -> str:
        return f"the proxy {self._proxy.address} ({self._proxy.source})"

    @property
    def _target(self) -> str:
        """The peer of the connection."""
        return self._proxy_text if self._proxy.url else self._where

    @property
    def _fix(self) -> str:
        return "check the proxy, or set `proxy: direct`" if self._proxy.url else SEE_NETWORK


def _httpx_proxy(proxy: ProxySetting, tls: Tls) -> httpx2.Proxy | None:
    if not proxy.url:
        return None
    secure = proxy.url.startswith("https:")
    return httpx2.Proxy(proxy.url, ssl_context=tls.context(own=True) if secure else None)


class _ProxySteps:
    """How far a request by a proxy has come, from the steps that httpx2 reports."""

    def __init__(self, used: bool) -> None:
        self.connecting = used
        """The request itself has not been sent yet."""
        self.refused = False
        """The TLS handshake with the proxy failed; that with the server has another name."""
        self._stream: Any = None

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Close a connection that leads nowhere; httpx2 leaves it open after SOCKS failed."""
        if kind is not None and self.connecting and self._stream is not None:
            await self._stream.aclose()

    def begins(self, step: str, info: dict[str, Any]) -> bool:
        """Whether this is another step of connecting, or its end."""
        self.refused = self.refused or step == "connection.start_tls.failed"
        if step.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info["return_value"]
        if not self.connecting or not step.endswith(".started"):
            return False
        if step.endswith(".send_request_headers.started"):
            self.connecting = info["request"].method == b"CONNECT"
        return True


class _Response:
    """The response to one request, as httpx2 reads it."""

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

    async def read(self, most: int = MAX_CHUNK_BYTES) -> bytes:
        """Wait for body data and return up to `most` bytes of it; empty at the end."""
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
            raise Incomplete(f"{self._where} sent an incomplete response") from error
        self.done = True
        await self._response.aclose()
        return b""

    def close(self) -> None:
        """Release the response; an unfinished one is aborted at once."""
        if not self.done:
            self.done = True
            self._transport.close(self._response)


async def _close(response: httpx2.Response) -> None:
    try:
        await response.aclose()
    except (httpx2.TransportError, OSError):
        return  # already closed


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
