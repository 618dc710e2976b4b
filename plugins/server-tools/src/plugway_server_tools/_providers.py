"""Requests to search providers, and their results. Pure functions, one table.

SearXNG: https://docs.searxng.org/dev/search_api.html. Brave:
https://api-dashboard.search.brave.com/app/documentation/web-search/query. Tavily:
https://docs.tavily.com/documentation/api-reference/endpoint/search. Exa:
https://docs.exa.ai/reference/search.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import orjson

from plugway import Headers, as_list, as_object
from plugway_server_tools._domains import Domains
from plugway_tools import harmless

MAX_URL: Final = 2_048
MAX_TITLE: Final = 300
MAX_TEXT: Final = 2_000
MAX_AGE: Final = 40
"""Characters of a result."""
MAX_READ: Final = 200
"""Number of results that are looked at."""

_URLS: Final = ("url", "link", "href")
_TITLES: Final = ("title", "name")
_TEXTS: Final = ("content", "description", "snippet", "highlights", "text", "summary")
_AGES: Final = ("page_age", "publishedDate", "published_date", "age", "date")
_LISTS: Final = ("results", "web", "items", "organic", "data")
_TAG: Final = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_VISIBLE: Final = "".join(map(chr, range(33, 127)))
_SPACE: Final = re.compile(r"\s+")
_ENDLESS: Final = re.compile(r"&#[0-9]{20,};?")
"""A reference to no character, with more digits than Python may read as a number."""


@dataclass(frozen=True, slots=True)
class Found:
    """One result: what outsiders wrote, bounded and harmless."""

    url: str
    title: str
    text: str = ""
    age: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One search."""

    text: str
    domains: Domains
    results: int


@dataclass(frozen=True, slots=True)
class Provider:
    """How to ask one."""

    longest: int
    """Characters of its longest query."""
    request: Callable[[Query], tuple[str, bytes | None]]
    """Path, and body of a POST."""
    key: Callable[[str], Headers]
    """The headers for a key."""
    hints: Mapping[int, str]
    """What to do about a status."""


def _searxng(query: Query) -> tuple[str, bytes | None]:
    return f"/search?{urlencode({'q': _with_sites(query), 'format': 'json'})}", None


def _brave(query: Query) -> tuple[str, bytes | None]:
    fields = {"q": _with_sites(query), "count": query.results, "text_decorations": "false"}
    return f"/res/v1/web/search?{urlencode(fields)}", None


def _tavily(query: Query) -> tuple[str, bytes | None]:
    body: dict[str, Any] = {"query": query.text, "max_results": query.results}
    body |= _lists("include_domains", "exclude_domains", query.domains)
    return "/search", orjson.dumps(body)


def _exa(query: Query) -> tuple[str, bytes | None]:
    contents = {"highlights": True}
    body: dict[str, Any] = {"query": query.text, "numResults": query.results, "contents": contents}
    body |= _lists("includeDomains", "excludeDomains", query.domains)
    return "/search", orjson.dumps(body)


def _with_sites(query: Query) -> str:
    """The query with the operators that engines know for a few allowed domains."""
    allowed = query.domains.allowed or ()
    sites = " OR ".join(f"site:{domain}" for domain in allowed[:3])
    if not sites or len(allowed) > 3:
        return query.text
    return f"{query.text} ({sites})" if " OR " in sites else f"{query.text} {sites}"


def _lists(allowed: str, blocked: str, domains: Domains) -> dict[str, list[str]]:
    both = {allowed: list(domains.allowed or ()), blocked: list(domains.blocked)}
    return {name: values for name, values in both.items() if values}


_KEY: Final = "check `api_key`"
_NO_MONEY: Final = "its plan or credit is used up"

PROVIDERS: Final[Mapping[str, Provider]] = {
    "searxng": Provider(
        1_000,
        _searxng,
        lambda key: (("authorization", f"Bearer {key}"),),
        {403: "add `json` to `search.formats` in the server's settings.yml"},
    ),
    "brave": Provider(
        400,
        _brave,
        lambda key: (("x-subscription-token", key),),
        {401: _KEY, 403: _KEY, 422: _KEY, 402: _NO_MONEY},
    ),
    "tavily": Provider(
        400,
        _tavily,
        lambda key: (("authorization", f"Bearer {key}"),),
        {401: _KEY, 403: _KEY, 432: _NO_MONEY, 433: _NO_MONEY},
    ),
    "exa": Provider(
        1_000, _exa, lambda key: (("x-api-key", key),), {401: _KEY, 403: _KEY, 402: _NO_MONEY}
    ),
}


# ── results ──────────────────────────────────────────────────────────────────────────────────────


def found_in(data: Any, query: Query) -> list[Found]:
    """The results in a response, of any provider or tool; none that `query` does not allow."""
    items = list_in(data) or []
    read = (_found(as_object(item)) for item in islice(items, MAX_READ))
    by_url: dict[str, Found] = {}
    for one in read:
        if one is not None and query.domains.admit(one.url):
            by_url.setdefault(one.url, one)
    return list(islice(by_url.values(), query.results))


def list_in(data: Any, depth: int = 2) -> list[Any] | None:
    """The list of results of a response; None if it has none."""
    if isinstance(data, list) or not isinstance(data, dict):
        return as_list(data) if isinstance(data, list) else None
    fields = as_object(data)
    inner = (list_in(fields.get(name), depth - 1) for name in _LISTS if depth)
    return next((found for found in inner if found is not None), None)


def _found(item: Mapping[str, Any]) -> Found | None:
    url = link_of(next((v for k in _URLS if isinstance(v := item.get(k), str)), ""))
    if not url:
        return None
    title = _line(_first(item, _TITLES), MAX_TITLE) or _line(urlsplit(url).hostname or url, 100)
    age = _line(_first(item, _AGES), MAX_AGE)
    return Found(url, title, _line(_first(item, _TEXTS), MAX_TEXT), age or None)


def link_of(url: str) -> str:
    """A URL that may be shown, in ASCII as it is sent; empty if it may not."""
    if not url.isascii():
        try:
            parts = urlsplit(url)
            netloc = parts.netloc.encode("idna").decode()
        except (ValueError, UnicodeError):
            return ""
        whole = urlunsplit(parts._replace(netloc=netloc))
        url = quote(whole, safe=_VISIBLE, errors="replace")
    return url if is_link(url) else ""


def is_link(url: str) -> bool:
    """Whether it is a URL that may be shown: http(s), short, and of visible ASCII characters."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable():
        return False
    if " " in url or "\\" in url or '"' in url or "<" in url or ">" in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _first(item: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = item.get(name)
        if isinstance(value, list):
            value = " … ".join(text for text in as_list(value)[:10] if isinstance(text, str))
        if isinstance(value, str) and value.strip():
            return value
    return ""


def unescaped(text: str) -> str:
    """Text of HTML with its character references replaced."""
    return html.unescape(_ENDLESS.sub("\ufffd", text))


def _line(text: str, limit: int) -> str:
    """Plain text in one line, without markup."""
    text = unescaped(_TAG.sub("", text[: 4 * limit]))
    return harmless(_SPACE.sub(" ", text).strip()[:limit], 8 * limit)
