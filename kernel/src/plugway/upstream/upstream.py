"""The HTTP client of backends: sends requests to one origin and checks its responses.

`plugway_http.client` keeps the connections; backends interpret the bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import orjson

from plugway.upstream.lines import from_upstream
from plugway.upstream.network import NetworkOptions, proxy_for
from plugway.upstream.origins import misdirected
from plugway_grants import add_upstream_host
from plugway_http.cancel import Deadline, bounded
from plugway_http.client import (
    MAX_CHUNK_BYTES,
    ClientError,
    Incomplete,
    InvalidResponse,
    Tls,
    Unreachable,
    connect,
)
from plugway_http.client.transport import Transport, TransportResponse
from plugway_http.client.url import is_loopback
from plugway_log import register_secret
from plugway_wire.bounds import check_answer, marks
from plugway_wire.errors import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    Headers,
    PlugwayError,
    StreamInterrupted,
)

MAX_WHOLE_BYTES: Final = 8 * 2**20
"""Largest body that is read whole; a larger one is a permanent error."""
MAX_ERROR_BYTES: Final = 2**20
MAX_ERROR_VALUES: Final = 10_000  # several plugins parse an error body
MAX_JSON_BYTES: Final = 8 * 2**20
"""Largest response to a small request, such as a list of models."""

MAX_STATUS: Final = 599
"""RFC 9110, 15: status codes have five classes."""

_INCOMPLETE: Final = frozenset((101, 204, 205, 206))
"""RFC 9110: statuses for another protocol, no content, and an unrequested range."""

_LATE: Final = "timed out - it may be busy or still loading a model; check its log"
_CONNECT_SECONDS: Final = {True: 1.0, False: 5.0}
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_HOP_BY_HOP: Final = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
    *("transfer-encoding", "upgrade", "content-length", "content-encoding"),
}


class UpstreamResponse:
    """An upstream's response, whose body has not been read yet."""

    __slots__ = ("_response", "content_type", "headers", "status")

    def __init__(
        self, response: TransportResponse, headers: Headers, content_type: str = ""
    ) -> None:
        self._response = response
        self.content_type = content_type.partition(";")[0].strip().lower()
        """The media type without parameters, in lower case."""
        self.status = response.status
        self.headers = headers
        """The headers that may reach a client (`from_upstream`)."""

    async def read(self, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """Read the whole body; the connection returns to the pool.

        Raises:
            StreamInterrupted: the body ends early.
            BackendProtocolError: the body is larger than `limit` or has too many JSON values.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            while chunk := await self._response.read(limit + 1):
                size += len(chunk)
                if size > limit:
                    await self.aclose()
                    large = f"the upstream's response is larger than {limit} bytes"
                    raise BackendProtocolError(large, permanent=True)
                pieces.append(chunk)
                if self._response.done:
                    break
        except ClientError as error:
            raise _failure(error) from error
        body = b"".join(pieces)
        pieces.clear()
        try:
            check_answer(body)
        except BackendProtocolError:
            await self.aclose()
            raise
        return body

    async def refusal(self) -> bytes:
        """Read the body of an error response and close it. Empty if the body ends early, is longer
        than 1 MiB or has more than 10,000 JSON values."""
        try:
            body = await self.read(MAX_ERROR_BYTES)
            return body if marks(body) <= MAX_ERROR_VALUES else b""
        except BackendError:
            return b""
        finally:
            await self.aclose()

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `StreamInterrupted` if it ends early."""
        return Body(self._response)

    async def aclose(self) -> None:
        """Release the response; if the body is unfinished, its connection is closed at once."""
        self._response.close()


class Body:
    """The chunks of a response body. It owns nothing and need not be closed."""

    __slots__ = ("_response", "most")

    def __init__(self, response: TransportResponse) -> None:
        self._response = response
        self.most = MAX_CHUNK_BYTES

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._response.read(self.most)
        except ClientError as error:
            raise _failure(error) from error
        if not data:
            raise StopAsyncIteration
        return data


class Upstream:
    """A client for one origin. It never follows redirects and keeps no cookies.

    Open it in the plugin's `lifespan`: `async with upstream: yield`.
    """

    passing: tuple[str, ...] = ()
    """Prefixes of the vendor's headers that clients may see, in addition to the common ones."""

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Mapping[str, str] | None = None,
        connect_seconds: float | None = None,
        network: NetworkOptions | None = None,
        zone: str = "",
    ) -> None:
        """`credentials` are headers added to every request after all others; `network` has the
        proxy and TLS options. In the `zone` `local` proxies of the environment are ignored.

        Raises `PlugwayError`: a credential is a key that is stored for another origin.
        """
        self.base_url = base_url.rstrip("/")
        if reason := misdirected(self.base_url, credentials or {}):
            raise PlugwayError(reason)
        self.loopback = is_loopback(self.base_url)
        self._credentials = dict(credentials or {})
        _keep_secret(self._credentials)
        self._network = network or NetworkOptions()
        seconds = connect_seconds or self._network.connect_seconds
        self._connect_seconds = seconds or _CONNECT_SECONDS[self.loopback]
        self._proxy = proxy_for(self.base_url, self._network, zone)
        self.way = self._proxy.description
        """How the server is reached, as text: directly, or through which proxy set by what."""
        parts = urlsplit(self.base_url)
        add_upstream_host(parts.hostname or "")
        self._authority, self._path = parts.netloc, parts.path
        self._transport: Transport | None = None

    async def __aenter__(self) -> Upstream:
        """Create the transport. Raises `BackendUnavailable` if a library is missing."""
        network = self._network
        try:
            self._transport = connect(
                self.base_url,
                self._proxy,
                Tls(network.ca_file, network.client_certificate),
                http2=network.http2,
                connect_seconds=self._connect_seconds,
            )
        except ClientError as error:
            raise _failure(error) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            await transport.aclose()

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
        """Send one request and return when the response head has arrived.

        `seconds` limits the wait for the head. `credentials` replace those of the constructor.
        `path` is sent unchanged, including the query. If a reused connection is closed at once,
        without a byte of a response, the request is sent again on a new one, once.

        Raises:
            BackendUnavailable: no connection, or it was lost before the head.
            BackendTimeout: the time limit passed.
            BackendProtocolError: the response is not HTTP, a redirect, or compressed; or a
                credential is a key that is stored for another origin.
        """
        if credentials:
            if reason := misdirected(self.base_url, credentials):
                raise BackendProtocolError(reason, permanent=True)
            _keep_secret(credentials, passing=True)
        extra = self._credentials if credentials is None else credentials
        target, lines = self._target(path), self._lines(headers, extra, body)
        transport = self._transport
        if transport is None:
            raise BackendUnavailable(f"the connection to {self.base_url} is not open")
        try:
            sending = transport.send(method, target, lines, body)
            response = await (sending if seconds is None else bounded(sending, seconds))
        except ValueError as error:
            record = "a header of the request contains invalid characters"
            raise BackendProtocolError(str(error), permanent=True, record=record) from None
        except ClientError as error:
            raise _failure(error) from error
        except TimeoutError:
            raise BackendTimeout(f"{self.base_url} {_LATE}") from None
        try:
            return _checked(response, self.base_url, self.passing)
        except BackendError:
            response.close()
            raise

    def _target(self, path: str) -> str:
        target = self._path + path
        if not (target.isascii() and target.isprintable()) or " " in target:
            return quote(target.encode("latin-1", "replace"), safe=_VISIBLE)
        return target

    def _lines(
        self, headers: Headers, credentials: Mapping[str, str], body: bytes | None
    ) -> Headers:
        lines = [
            ("host", self._authority),
            *[line for line in headers if line[0] not in _HOP_BY_HOP],
            ("accept-encoding", "identity"),
            *credentials.items(),
        ]
        if body is not None:
            lines.append(("content-length", str(len(body))))
        return tuple(lines)

    async def fetch_json(
        self, path: str, *, body: bytes | None = None, headers: Headers = (), seconds: float = 2.5
    ) -> Any:
        """The JSON response to a small request: a GET, or a POST of `body`.

        `seconds` limits the whole request. Raises:
            BackendRefused: the status is not 200.
            BackendError: no response, or not JSON.
        """
        lines = (("accept", "application/json"), ("content-type", "application/json"), *headers)
        try:
            with Deadline(seconds):
                response = await self.request(
                    "GET" if body is None else "POST", path, body=body, headers=lines
                )
                try:
                    content = await response.read(MAX_JSON_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise BackendTimeout(f"{self.base_url} {_LATE}") from None
        if response.status != 200:
            raise BackendRefused(response.status, content, headers=response.headers)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            reason = f"{self.base_url}{path} sent a response that is not JSON"
            raise BackendProtocolError(reason) from None


def _failure(error: ClientError) -> BackendError:
    """The failure of an attempt for an error of the transport."""
    if isinstance(error, Incomplete):
        return StreamInterrupted(str(error))
    if isinstance(error, InvalidResponse):
        return BackendProtocolError(str(error), record=error.record)
    untrusted = isinstance(error, Unreachable) and error.untrusted
    status = 502 if untrusted else None
    failure = BackendUnavailable(str(error), status=status, permanent=error.permanent)
    failure.try_next = failure.try_next and not untrusted
    return failure


def _keep_secret(credentials: Mapping[str, str], *, passing: bool = False) -> None:
    """Redact the keys in credential headers, after the scheme (RFC 9110, 11.6.2), in errors."""
    for value in credentials.values():
        register_secret(value.rpartition(" ")[2], passing=passing)


def _checked(
    response: TransportResponse, origin: str, passing: tuple[str, ...]
) -> UpstreamResponse:
    named, status = dict(response.lines), response.status
    if status > MAX_STATUS:
        raise BackendProtocolError(f"{origin} sent the invalid status {status}")
    if 300 <= status < 400 and "location" not in named:
        raise BackendProtocolError(
            f"{origin} sent status {status} without a `Location` header - check proxies and caches "
            "in front of the server"
        )
    if 300 <= status < 400:
        raise BackendProtocolError(
            f"{origin} redirects to {named.get('location', '')!r}; set that address as `base_url` "
            "if you trust it",
            permanent=True,
            record=f"{origin} redirects to another address",
        )
    if status in _INCOMPLETE:
        raise BackendProtocolError(
            f"{origin} sent status {status}, which is not a complete response - check proxies and "
            "caches in front of the server"
        )
    encoding = named.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        what = f"{origin} sent `Content-Encoding` {encoding!r}, which was not requested"
        raise BackendProtocolError(what, record=f"{origin} sent an unrequested `Content-Encoding`")
    lines = from_upstream(response.lines, passing)
    return UpstreamResponse(response, lines, named.get("content-type", ""))
