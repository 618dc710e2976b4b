"""The data path to upstreams: one HTTP client seam, its limits, and its map of failures.

aiohttp carries it, several times faster than httpx2 under concurrency; nothing of aiohttp shows
outside this module. What the bytes mean is the backends' business.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from plugway._errors import (
    BackendError,
    BackendProtocolError,
    BackendTimeout,
    BackendUnavailable,
    Headers,
    StreamInterrupted,
)

MAX_WHOLE_BYTES: Final = 64 * 2**20
"""Largest body that is read whole from an upstream."""

_CONNECT_SECONDS: Final = {True: 1.0, False: 5.0}
_LARGE_BODY: Final = 2**20
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

    __slots__ = ("_read", "_where")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._read = response.content.readany
        self._where = f"{response.url.origin()}"

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._read()
        except _FAILURES as error:
            raise as_backend_error(error, self._where, started=True) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk


class Upstream:
    """A client for one origin. Redirects are never followed, cookies never kept.

    Open it in the plugin's `lifespan`: `async with upstream: yield`.
    """

    def __init__(self, base_url: str, *, credentials: Mapping[str, str] | None = None) -> None:
        """`credentials` are header lines added to every request after all others."""
        self.base_url = base_url.rstrip("/")
        self.loopback = is_loopback(self.base_url)
        self._credentials = dict(credentials or {})
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        """Open the pool of connections."""
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS[self.loopback], sock_read=None
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

        Raises:
            BackendUnavailable: no connection, or none that lasted until the head.
            BackendTimeout: the limit passed.
            BackendProtocolError: the answer is not HTTP, redirects, or is compressed.
        """
        if self._session is None:
            raise BackendUnavailable(f"the connection to {self.base_url} is not open")
        extra = self._credentials if credentials is None else credentials
        lines = [line for line in headers if line[0] not in _HOP_BY_HOP]
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body
        try:
            async with asyncio.timeout(seconds):
                response = await self._session.request(
                    method,
                    self.base_url + path,
                    data=data,
                    headers=[*lines, ("accept-encoding", "identity"), *extra.items()],
                    allow_redirects=False,
                )
        except _FAILURES as error:
            raise as_backend_error(error, self.base_url) from error
        try:
            return _checked(response, self.base_url)
        except BackendError:
            response.close()
            raise

    async def get_json(self, path: str, *, seconds: float = 2.5) -> bytes:
        """The body of a successful GET.

        Raises:
            BackendError: anything but a 200.
        """
        response = await self.request(
            "GET", path, headers=(("accept", "application/json"),), seconds=seconds
        )
        try:
            body = await response.read()
        finally:
            await response.aclose()
        if response.status != 200:
            raise BackendUnavailable(f"{self.base_url}{path} answered {response.status}")
        return body


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


_FAILURES = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""Everything that the HTTP client raises; `tests/kernel/test_upstream.py` goes through its list."""


def as_backend_error(error: Exception, where: str, *, started: bool = False) -> BackendError:
    """A failure of the HTTP client as one of ours.

    `started` says that the head of the answer was there, so that a loss is an interruption.
    """
    match error:
        case aiohttp.ConnectionTimeoutError():
            return BackendUnavailable(f"{where} did not accept the connection in time")
        case TimeoutError():
            return BackendTimeout(f"{where} did not answer in time")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            reason = f"{where} cannot be trusted: TLS verification failed ({error})"
            failure = BackendUnavailable(reason, status=502, permanent=True)
            failure.try_next = False
            return failure
        case aiohttp.ClientConnectorDNSError():
            return BackendUnavailable(f"the name in {where} cannot be resolved")
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or str(error.os_error)
            return BackendUnavailable(f"{where} cannot be reached: {reason}")
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | OSError():
            if started:
                return StreamInterrupted(f"{where} broke off its answer")
            return BackendUnavailable(f"{where} closed the connection before it answered")
        case _:
            return BackendProtocolError(f"{where} does not answer in valid HTTP: {error}")


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def url_problem(url: str, *, with_key: bool) -> str:
    """Why `url` may not be an upstream's address; empty where it may."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"{url!r} is not a URL: {error}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "it must start with http:// or https:// and name a host"
    if parts.username or parts.password:
        return "a user or password does not belong in a URL; use `api_key`"
    if parts.query or parts.fragment:
        return "it may not have a query or fragment"
    if parts.hostname in {"169.254.169.254", "metadata.google.internal", "fd00:ec2::254"}:
        return "that is a cloud machine's metadata service, not a model"
    if with_key and parts.scheme == "http" and not is_loopback(url):
        return "a key would travel in clear text; use https, or leave the key out"
    return ""
