"""The client of upstreams: what goes out to one origin, and what of its answer comes back in.

How connections are kept belongs to `upstream/pool`; what the bytes mean, that of the
backends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import orjson

from plugway.credentials import register_secret
from plugway.types.bounds import check_answer, marks
from plugway.types.errors import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    Headers,
    PlugwayError,
)
from plugway.upstream.connection import MAX_TAKEN_BYTES
from plugway.upstream.lines import from_upstream
from plugway.upstream.network import NetworkOptions, tls_context, way_to
from plugway.upstream.origins import misdirected, remember_host
from plugway.upstream.pool import Pool
from plugway.upstream.transport import Answer, Transport
from plugway.upstream.url import is_loopback

MAX_WHOLE_BYTES: Final = 8 * 2**20
"""Largest body that is read whole from an upstream: asking again would bring it again."""
MAX_REFUSAL_BYTES: Final = 2**20
MAX_REFUSAL_VALUES: Final = 10_000  # everybody who learns from an error parses it
MAX_JSON_BYTES: Final = 8 * 2**20
"""Largest answer to a small question, such as a list of models."""

HIGHEST_STATUS: Final = 599
"""RFC 9110, 15: a status has one of five classes."""

_NO_ANSWER: Final = frozenset((101, 204, 205, 206))
"""RFC 9110: another protocol, no content, and a part that nobody asked for."""

_LATE: Final = "timed out - it may be busy or still loading a model; check its log"
_CONNECT_SECONDS: Final = {True: 1.0, False: 5.0}
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_HOP_BY_HOP: Final = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
    *("transfer-encoding", "upgrade", "content-length", "content-encoding"),
}


class UpstreamResponse:
    """The head of an upstream's answer, and its body still to be read."""

    __slots__ = ("_answer", "content_type", "headers", "status")

    def __init__(self, answer: Answer, headers: Headers, content_type: str = "") -> None:
        """An answer with the header lines that may reach a client."""
        self._answer = answer
        self.content_type = content_type.partition(";")[0].strip().lower()
        """The media type without parameters, in lower case."""
        self.status = answer.status
        self.headers = headers
        """Those that may reach a client (`from_upstream`)."""

    async def read(self, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """The whole body; the connection goes back to the pool.

        Raises:
            StreamInterrupted: the body ends early.
            BackendProtocolError: it is larger than `limit`, or holds too many JSON values.
        """
        pieces: list[bytes] = []
        size = 0
        while chunk := await self._answer.take(limit + 1):
            size += len(chunk)
            if size > limit:
                await self.aclose()
                large = f"the upstream's response is larger than {limit} bytes"
                raise BackendProtocolError(large, permanent=True)
            pieces.append(chunk)
            if self._answer.done:  # then that was all of it
                break
        body = b"".join(pieces)
        pieces.clear()
        try:
            check_answer(body)
        except BackendProtocolError:
            await self.aclose()
            raise
        return body

    async def refusal(self) -> bytes:
        """The body of an error status, and the end of the answer: nothing where it breaks off, is
        longer than 1 MiB or holds more than 10,000 values, for the status alone tells more."""
        try:
            body = await self.read(MAX_REFUSAL_BYTES)
            return body if marks(body) <= MAX_REFUSAL_VALUES else b""
        except BackendError:
            return b""
        finally:
            await self.aclose()

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `StreamInterrupted` where it ends early."""
        return Body(self._answer)

    async def aclose(self) -> None:
        """Let go of the answer: an unfinished one closes its connection at once."""
        self._answer.close()


class Body:
    """The pieces of an answer's body: an iterator that owns nothing and needs no closing."""

    __slots__ = ("_answer", "most")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.most = MAX_TAKEN_BYTES

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        data = await self._answer.take(self.most)
        if not data:
            raise StopAsyncIteration
        return data


class Upstream:
    """A client for one origin. Redirects are never followed, cookies never kept.

    Open it in the plugin's `lifespan`: `async with upstream: yield`.
    """

    passing: tuple[str, ...] = ()
    """Prefixes of header lines of its vendor that clients may see beside those that all may."""

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Mapping[str, str] | None = None,
        connect_seconds: float | None = None,
        network: NetworkOptions | None = None,
        zone: str = "",
    ) -> None:
        """`credentials` are header lines added to every request after all others; `network` says
        how the server is reached. In the `zone` `local` no proxy of the environment is used.

        Raises:
            PlugwayError: one of them is a key that is stored for another origin.
        """
        self.base_url = base_url.rstrip("/")
        if reason := misdirected(self.base_url, credentials or {}):
            raise PlugwayError(reason)
        remember_host(self.base_url)
        self.loopback = is_loopback(self.base_url)
        self._credentials = dict(credentials or {})
        _keep_secret(self._credentials)
        self._network = network or NetworkOptions()
        seconds = connect_seconds or self._network.connect_seconds
        self._connect_seconds = seconds or _CONNECT_SECONDS[self.loopback]
        self._way = way_to(self.base_url, self._network, zone)
        self.way = self._way.told
        """How the server is reached, in words: directly, or by which proxy and who says so."""
        parts = urlsplit(self.base_url)
        self._authority, self._path = parts.netloc, parts.path
        self._transport: Transport | None = None

    async def __aenter__(self) -> Upstream:
        """Get ready to connect. Raises `BackendUnavailable` where a library is missing."""
        network, seconds = self._network, self._connect_seconds
        if self._way.proxy or network.http2:
            # What hardly anybody needs takes 0.1 s to import.
            from plugway.upstream.general import GeneralTransport  # noqa: PLC0415

            self._transport = GeneralTransport(self.base_url, network, self._way, seconds)
        else:
            self._transport = Pool(self.base_url, seconds, tls_context(network))
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
        """Send one request and return when the head of the answer is there.

        `seconds` limits the wait for the head. `credentials` replace those of the constructor.
        `path` is sent as it is, query included. A kept connection that the upstream closes at once,
        without a byte of an answer, is replaced by another one, once.

        Raises:
            BackendUnavailable: no connection, or none that lasted until the head.
            BackendTimeout: the limit passed.
            BackendProtocolError: the answer is not HTTP, redirects, or is compressed; or a
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
            if seconds is None:
                answer = await transport.ask(method, target, lines, body)
            else:
                async with asyncio.timeout(seconds):
                    answer = await transport.ask(method, target, lines, body)
        except ValueError as error:
            record = "a header of the request contains invalid characters"
            raise BackendProtocolError(str(error), permanent=True, record=record) from None
        except TimeoutError:
            raise BackendTimeout(f"{self.base_url} {_LATE}") from None
        try:
            return _checked(answer, self.base_url, self.passing)
        except BackendError:
            answer.close()
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
        """The JSON that a small question is answered with: a GET, or a POST of `body`.

        `seconds` limits all of it. Raises:
            BackendRefused: the status is not 200.
            BackendError: no answer, or not JSON.
        """
        lines = (("accept", "application/json"), ("content-type", "application/json"), *headers)
        try:
            async with asyncio.timeout(seconds):
                response = await self.request(
                    "GET" if body is None else "POST", path, body=body, headers=lines
                )
                try:
                    answer = await response.read(MAX_JSON_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise BackendTimeout(f"{self.base_url} {_LATE}") from None
        if response.status != 200:
            raise BackendRefused(response.status, answer, headers=response.headers)
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError:
            reason = f"{self.base_url}{path} sent a response that is not JSON"
            raise BackendProtocolError(reason) from None


def _keep_secret(credentials: Mapping[str, str], *, passing: bool = False) -> None:
    """No error shows the keys in credential lines (RFC 9110, 11.6.2: after their scheme)."""
    for value in credentials.values():
        register_secret(value.rpartition(" ")[2], passing=passing)


def _checked(answer: Answer, origin: str, passing: tuple[str, ...]) -> UpstreamResponse:
    named = dict(answer.lines)
    if answer.status > HIGHEST_STATUS:
        raise BackendProtocolError(f"{origin} sent the invalid status {answer.status}")
    if 300 <= answer.status < 400 and "location" not in named:
        raise BackendProtocolError(
            f"{origin} sent status {answer.status} without a `Location` header - check what stands "
            "in front of the server, such as a cache"
        )
    if 300 <= answer.status < 400:
        raise BackendProtocolError(
            f"{origin} redirects to {named.get('location', '')!r}; set that address as `base_url` "
            "if you trust it",
            permanent=True,
            record=f"{origin} redirects to another address",
        )
    if answer.status in _NO_ANSWER:
        raise BackendProtocolError(
            f"{origin} sent status {answer.status}, which is not a complete response - check what "
            "stands in front of the server, such as a cache"
        )
    encoding = named.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        what = f"{origin} sent `Content-Encoding` {encoding!r}, which was not requested"
        raise BackendProtocolError(what, record=f"{origin} sent an unrequested `Content-Encoding`")
    lines = from_upstream(answer.lines, passing)
    return UpstreamResponse(answer, lines, named.get("content-type", ""))
