"""Fetches a public page: no address of this machine or its networks, whatever a name resolves to.

Each host is resolved once, all its addresses are checked, and the connection goes to one of them;
redirects are checked like the first URL. No proxy is used, because it would resolve names itself.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

import anyio.to_thread

from plugway_http.client import ClientError, Tls
from plugway_http.client.connection import Connection, ConnectionResponse
from plugway_http.wire import joined
from plugway_server_tools._options import FetchOptions, in_url
from plugway_server_tools._page import readable
from plugway_server_tools._providers import MAX_TITLE, MAX_URL
from plugway_server_tools._search import ToolFailed
from plugway_tools import NotPublic, harmless, public_addresses

MAX_REDIRECTS: Final = 5
MAX_ADDRESSES: Final = 4
"""Addresses of a host that are tried."""
PORTS: Final = (80, 443, 8080, 8443)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_LINES: Final = (
    ("accept", "text/html, text/plain, application/json;q=0.9, */*;q=0.1"),
    ("accept-encoding", "gzip, identity;q=0.5"),
    ("user-agent", "plugway"),
    ("connection", "close"),
)
_HTML: Final = ("text/html", "application/xhtml+xml")
_TEXT: Final = re.compile(r"text/[a-z0-9.+-]+|application/(?:[a-z0-9.+-]+\+)?(?:json|xml|yaml)")
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([a-zA-Z0-9_:.-]{1,40})", re.IGNORECASE)
_CHARSETS: Final = re.compile(
    r"utf-?(?:8|16(?:le|be)?)|(?:us-)?ascii|iso-8859-\d{1,2}|latin-?1|windows-125\d|cp125\d"
    r"|shift_jis|sjis|euc-(?:jp|kr)|gb2312|gbk|gb18030|big5|koi8-[ru]",
    re.IGNORECASE,
)
"""Encodings of text; Python knows others, some of which are slow or no text."""
_SNIFFED: Final = 2_048


@dataclass(frozen=True, slots=True)
class Fetched:
    """The text of a page: what outsiders wrote, bounded and harmless."""

    url: str
    """Where it was found, after redirects."""
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A checked URL in parts."""

    url: str
    host: str
    port: int
    tls: bool
    target: str


class Fetcher:
    """Fetches pages under the limits of the options."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options

    async def fetch(self, url: str, admit: Callable[[str], bool]) -> Fetched:
        """The page at `url`; `admit` decides about the URL of each redirect too.

        Raises:
            ToolFailed: the page may not be fetched, or cannot.
        """
        try:
            async with asyncio.timeout(self._options.seconds):
                return await self._followed(url, admit)
        except TimeoutError:
            reason = f"The page was not complete after {self._options.seconds:g} s."
            raise ToolFailed("url_not_accessible", reason) from None

    async def _followed(self, url: str, admit: Callable[[str], bool]) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            place = place_of(url)
            if not admit(place.url):
                reason = "The domain is not allowed by the request's tool."
                raise ToolFailed("url_not_allowed", reason)
            response = await self._response(place)
            try:
                named = dict(response.lines)
                if response.status not in _REDIRECTS or "location" not in named:
                    return await self._page(place, response, named)
            except ClientError:
                raise ToolFailed("url_not_accessible", "The response is incomplete.") from None
            finally:
                response.close()
            try:
                url = urljoin(place.url, named["location"])
            except ValueError:
                raise ToolFailed("url_not_accessible", "A redirect has no valid URL.") from None
        reason = f"The URL redirects more than {MAX_REDIRECTS} times."
        raise ToolFailed("url_not_accessible", reason)

    # ── the connection ───────────────────────────────────────────────────────────────────────

    async def _response(self, place: _Place) -> ConnectionResponse:
        """The head of the response, from one of the checked addresses."""
        addresses = await self._addresses(place)
        host = in_url(place.host)
        is_default = place.port == (443 if place.tls else 80)
        authority = host if is_default else f"{host}:{place.port}"
        head = joined(f"GET {place.target} HTTP/1.1", (("host", authority), *_LINES))
        problem = "cannot be reached"
        for address in addresses[:MAX_ADDRESSES]:
            try:
                connection = await self._connected(place, address)
                return await connection.send(head, b"").wait_for_head()
            except ssl.SSLError:
                problem = "cannot prove its identity"
            except (OSError, ClientError):
                problem = "cannot be reached"
        raise ToolFailed("url_not_accessible", f"The server of the page {problem}.")

    async def _addresses(self, place: _Place) -> list[str]:
        allowed, host = self._options.allow_hosts, in_url(place.host)
        named = f"{host}:{place.port}" in allowed
        own = named or host in allowed
        if place.port not in PORTS and not named:
            raise ToolFailed("url_not_allowed", f"The port {place.port} may not be used.")
        try:
            if own:
                found = await anyio.getaddrinfo(place.host, place.port)
                return list(dict.fromkeys(str(entry[4][0]) for entry in found))
            return await public_addresses(place.host, place.port)
        except NotPublic:
            reason = "The host has no public address; `allow_hosts` of `web_fetch` could allow it."
            raise ToolFailed("url_not_allowed", reason) from None
        except (OSError, UnicodeError):
            reason = "The host name cannot be resolved."
            raise ToolFailed("url_not_accessible", reason) from None

    async def _connected(self, place: _Place, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        context = Tls(self._options.ca_file).context() if place.tls else None
        _, connection = await loop.create_connection(
            partial(Connection, "the page", loop, Connection.abort, _ignore),
            host=address,
            port=place.port,
            ssl=context,
            server_hostname=place.host if context is not None else None,
        )
        return connection

    # ── the page ─────────────────────────────────────────────────────────────────────────────

    async def _page(
        self, place: _Place, response: ConnectionResponse, named: dict[str, str]
    ) -> Fetched:
        if response.status == 429:
            raise ToolFailed("too_many_requests", "The server of the page limits requests.")
        if response.status != 200:
            reason = f"The server of the page answered with status {response.status}."
            raise ToolFailed("url_not_accessible", reason)
        kind, _, rest = named.get("content-type", "text/plain").partition(";")
        kind = kind.strip().lower()
        if kind not in _HTML and not _TEXT.fullmatch(kind):
            raise ToolFailed("unsupported_content_type", "Only HTML, text and JSON can be read.")
        data = await self._body(response, named.get("content-encoding", ""))
        text = _decoded(data, rest, sniff=kind in _HTML)
        title = ""
        if kind in _HTML:
            page = await anyio.to_thread.run_sync(readable, text, place.url)
            title, text = page.title, page.text
        return Fetched(place.url, harmless(title[:MAX_TITLE], 8 * MAX_TITLE), self._cut(text))

    async def _body(self, response: ConnectionResponse, encoding: str) -> bytes:
        """The decoded body. Raises `ToolFailed` if it is larger than `max_bytes`."""
        limit = self._options.max_bytes
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise ToolFailed("unsupported_content_type", "The page has an unknown compression.")
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if "gzip" in encoding else None
        pieces: list[bytes] = []
        read = size = 0
        damaged = "The page's compression is damaged."
        while (unpack is None or not unpack.eof) and (chunk := await response.read()):
            try:
                piece = chunk if unpack is None else unpack.decompress(chunk, limit + 1)
            except zlib.error:
                raise ToolFailed("url_not_accessible", damaged) from None
            read, size = read + len(chunk), size + len(piece)
            if max(read, size) > limit or (unpack is not None and unpack.unconsumed_tail):
                raise ToolFailed("content_too_large", f"The page is larger than {limit:,} bytes.")
            pieces.append(piece)
        if unpack is not None and not unpack.eof:
            raise ToolFailed("url_not_accessible", damaged)
        return b"".join(pieces)

    def _cut(self, text: str) -> str:
        limit = self._options.max_characters
        if len(text) > limit:
            text = f"{text[:limit]}\n[cut after {limit:,} characters]"
        return harmless(text, 8 * limit + 1_000)


def _ignore(_: Connection) -> None:
    """The connection is not kept, so nobody needs to know that it is lost."""


def place_of(url: str) -> _Place:
    """The parts of a URL.

    Raises:
        ToolFailed: it is too long, not http(s), or has a user, a control character, or no host.
    """
    if len(url) > MAX_URL:
        raise ToolFailed("url_too_long", f"A URL may have {MAX_URL} characters.")
    wrong = ToolFailed("invalid_tool_input", "It is not a valid http(s) URL.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise wrong
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").rstrip(".")
        host = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or "%" in host or port == 0:
        raise wrong
    if "@" in parts.netloc:
        raise ToolFailed("url_not_allowed", "A URL with a user or password is not fetched.")
    tls = parts.scheme == "https"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    target = f"{path}?{query}" if query else path
    port = port or (443 if tls else 80)
    shown = in_url(host)
    is_default = port == (443 if tls else 80)
    plain = f"{parts.scheme}://{shown}{'' if is_default else f':{port}'}{target}"
    return _Place(plain, host, port, tls, target)


def _decoded(data: bytes, parameters: str, *, sniff: bool) -> str:
    named = _CHARSET.search(parameters)
    if named is None and sniff:
        named = _CHARSET.search(data[:_SNIFFED].decode("latin-1"))
    name = named[1] if named and _CHARSETS.fullmatch(named[1]) else "utf-8"
    try:
        return data.decode(name, "replace")
    except LookupError:
        return data.decode("utf-8", "replace")
