"""What the gateway runs: the search provider and the fetcher, as far as they are configured."""

from __future__ import annotations

from collections.abc import Callable

from plugway import Exchange, Gateway
from plugway_server_tools._domains import Domains
from plugway_server_tools._fetch import Fetched, Fetcher
from plugway_server_tools._options import FetchOptions, SearchOptions
from plugway_server_tools._providers import Found, Query
from plugway_server_tools._search import Search


class Services:
    """The configured services. Open them before use: `async with services`."""

    def __init__(self, search: SearchOptions | None, fetch: FetchOptions | None) -> None:
        """Raises `PlugwayError`: the provider's proxy or key does not fit its URL."""
        self._search_options = search
        self._fetch_options = fetch
        self._search = Search(search) if search is not None else None
        self._fetcher = Fetcher(fetch) if fetch is not None else None

    def find_tools_in(self, gateway: Gateway) -> None:
        """Set where mounted tools are searched for."""
        if self._search is not None:
            self._search.find_tool_in(gateway)

    async def __aenter__(self) -> Services:
        """Open the connection pool of the provider."""
        if self._search is not None:
            await self._search.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close all connections."""
        if self._search is not None:
            await self._search.__aexit__(*exc)

    def refusal(self, base: str, zone: str) -> str | None:
        """Why a conversation that is served in `zone` cannot call the tool of the type `base`, as a
        sentence; empty if it can, and None if nothing is configured for it."""
        options = {"web_search": self._search_options, "web_fetch": self._fetch_options}.get(base)
        if options is None:
            return None
        if options.serves(zone):
            return ""
        goes = "to the web"
        if isinstance(options, SearchOptions):
            goes = f"to the zone `{options.receives}`"
        return (
            f"this conversation is served in the zone `{zone}`, and nothing of it may go {goes} - "
            f"`from_zones: [{zone}]` of `{base}` would allow it."
        )

    async def search(self, text: str, domains: Domains, exchange: Exchange) -> list[Found]:
        """The results of a search. Raises `ToolFailed`."""
        assert self._search is not None
        assert self._search_options is not None
        query = Query(text, domains, self._search_options.results)
        return await self._search.run(query, exchange)

    async def fetch(self, url: str, admit: Callable[[str], bool]) -> Fetched:
        """The page at `url`; `admit` decides about each redirect. Raises `ToolFailed`."""
        assert self._fetcher is not None
        return await self._fetcher.fetch(url, admit)
