"""The data path to upstreams: one HTTP client seam, its limits, and its map of failures.

aiohttp carries it, several times faster than httpx2 under concurrency; nothing of aiohttp shows
outside this module. What the bytes mean is the backends' business.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from plugway._client_errors import FAILURES, LOST, as_backend_error, unanswered
from plugway._errors import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendUnavailable,
    Headers,
    PlugwayError,
)
from plugway._keyring import misdirected
from plugway._url import is_loopback

MAX_WHOLE_BYTES: Final = 64 * 2**20
"""Largest body that is read whole from an upstream."""

_CONNECT_SECONDS: Final = {True: 1.0, False: 5.0}
_LARGE_BODY: Final = 2**20
_opened: ContextVar[bool] = ContextVar("plugway_connection_opened", default=False)
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
    )
)
_NEVER_BACK = _HOP_BY_HOP | {
    "set-cookie",
    "www-authenticate",
    "strict-transport-security",
    "server",
    "date",
    "alt-svc",
}


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """The head of an upstream's answer, and its body still to be read."""

    status: int
    headers: Headers
    """Without hop-by-hop lines, cookies and what concerns the upstream's own origin."""
    _response: aiohttp.ClientResponse

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        value = next((v for k, v in self.headers if k == "content-type"), "")
        return value.partition(";")[0].strip().lower()

    async def read(self, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """The whole body; the connection goes back to the pool.

        Raises:
            StreamInterrupted: the body ends early.
            BackendProtocolError: it is larger than `limit`.
        """
        pieces: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                await self.aclose()
                raise BackendProtocolError(f"the upstream's answer is larger than {limit} bytes")
            pieces.append(chunk)
        return b"".join(pieces)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `StreamInterrupted` where it ends early."""
        return _Body(self._response)

    async def aclose(self) -> None:
        """Let go of the answer: an unfinished one closes its connection at once."""
        self._response.close()


class _Body:
    """The pieces of an answer's body: an iterator that owns nothing and needs no closing."""

    __slots__ = ("_content", "_failure", "_where")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        self._failure: BackendError | None = None
        self._where = f"{response.url.origin()}"
        # aiohttp closes the connection on a chunk that is malformed but does not tell the reader,
        # who would wait for ever (`test_a_malformed_chunk_is_an_interruption`).
        protocol = response.connection.protocol if response.connection is not None else None
        closed = protocol.closed if protocol is not None else None
        if closed is not None:
            closed.add_done_callback(self._lost)
            self._content.on_eof(partial(self._complete, closed))

    def _complete(self, closed: asyncio.Future[None]) -> None:
        closed.remove_done_callback(self._lost)

    def _lost(self, _: asyncio.Future[None]) -> None:
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            chunk = await self._content.readany()
        except FAILURES as error:
            failure = as_backend_error(error, self._where, started=True)
            # What had arrived before the break still counts: a finished tool call may be in it.
            # aiohttp keeps these bytes but has no public way to get them once it has failed.
            chunk = self._content._read_nowait(-1)  # pyright: ignore[reportPrivateUsage]
            if not chunk:
                raise failure from error
            self._failure = failure
        if not chunk:
            raise StopAsyncIteration
        return chunk


class Upstream:
    """A client for one origin. Redirects are never followed, cookies never kept.

    Open it in the plugin's `lifespan`: `async with upstream: yield`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Mapping[str, str] | None = None,
        connect_seconds: float | None = None,
    ) -> None:
        """`credentials` are header lines added to every request after all others.

        Raises:
            PlugwayError: one of them is a key that is stored for another origin.
        """
        self.base_url = base_url.rstrip("/")
        if reason := misdirected(self.base_url, credentials or {}):
            raise PlugwayError(reason)
        self.loopback = is_loopback(self.base_url)
        self._credentials = dict(credentials or {})
        self._connect_seconds = connect_seconds or _CONNECT_SECONDS[self.loopback]
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        """Open the pool of connections."""
        connector = _Connector(limit=0, ttl_dns_cache=60, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._connect_seconds, sock_read=None
            ),
            read_bufsize=2**17,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Headers = (),
        credentials: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> UpstreamResponse:
        """Send one request and return when the head of the answer is there.

        `seconds` limits the wait for the head. `credentials` replace those of the constructor.
        `path` is sent as it is, query included. A kept connection that the upstream closes
        without a byte of an answer is replaced by another one, once.

        Raises:
            BackendUnavailable: no connection, or none that lasted until the head.
            BackendTimeout: the limit passed.
            BackendProtocolError: the answer is not HTTP, redirects, or is compressed; or a
                credential is a key that is stored for another origin.
        """
        if credentials and (reason := misdirected(self.base_url, credentials)):
            raise BackendProtocolError(reason, permanent=True)
        extra = self._credentials if credentials is None else credentials
        lines = [(name, _text(value)) for name, value in headers if name not in _HOP_BY_HOP]
        lines += [("accept-encoding", "identity"), *extra.items()]
        try:
            async with asyncio.timeout(seconds):
                try:
                    response = await self._send(method, path, body, lines)
                except LOST as error:
                    if _opened.get() or not unanswered(error):
                        raise
                    response = await self._send(method, path, body, lines)
        except FAILURES as error:
            raise as_backend_error(error, self.base_url) from error
        try:
            return _checked(response, self.base_url)
        except BackendError:
            response.close()
            raise

    async def _send(
        self, method: str, path: str, body: bytes | None, lines: list[tuple[str, str]]
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise BackendUnavailable(f"the connection to {self.base_url} is not open")
        _opened.set(False)
        return await self._session.request(
            method,
            URL(self.base_url + path, encoded=True),
            data=io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body,
            headers=lines,
            allow_redirects=False,
        )

    async def fetch_json(
        self, path: str, *, body: bytes | None = None, headers: Headers = (), seconds: float = 2.5
    ) -> Any:
        """The JSON that a small question is answered with: a GET, or a POST of `body`.

        Raises:
            BackendRefused: the status is not 200.
            BackendError: no answer, or not JSON.
        """
        lines = (("accept", "application/json"), ("content-type", "application/json"), *headers)
        response = await self.request(
            "GET" if body is None else "POST", path, body=body, headers=lines, seconds=seconds
        )
        try:
            answer = await response.read()
        finally:
            await response.aclose()
        if response.status != 200:
            raise BackendRefused(response.status, answer, headers=response.headers)
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError:
            reason = f"{self.base_url}{path} answered with something that is not JSON"
            raise BackendProtocolError(reason) from None


class _Connector(aiohttp.TCPConnector):
    """Notes, for the request that is being sent, that it did not get a kept connection."""

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        _opened.set(True)
        protocol = await super()._create_connection(*args, **kwargs)
        if protocol.closed is not None:
            protocol.closed.add_done_callback(_read)
        return protocol


def _read(closed: asyncio.Future[None]) -> None:
    """The end of a connection nobody waits for is not an error to be logged."""
    if not closed.cancelled():
        closed.exception()


def _text(value: str) -> str:
    """A header value so that aiohttp, which writes UTF-8, writes the bytes that were read."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _checked(response: aiohttp.ClientResponse, origin: str) -> UpstreamResponse:
    if 300 <= response.status < 400:
        target = response.headers.get("location", "")
        raise BackendProtocolError(
            f"{origin} redirects to {target!r}; set that address as `base_url` if you trust it",
            permanent=True,
        )
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise BackendProtocolError(f"{origin} answered in the encoding {encoding!r}, not asked for")
    lines = tuple(
        (name, value.decode("latin-1"))
        for raw, value in response.raw_headers
        if (name := raw.decode("latin-1").lower()) not in _NEVER_BACK
        and not name.startswith("access-control-")
    )
    return UpstreamResponse(response.status, lines, response)
