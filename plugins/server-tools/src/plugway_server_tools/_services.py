"""What the gateway runs: the search provider and the fetcher, as far as they are configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from plugway import Exchange, Gateway
from plugway_server_tools._domains import Domains
from plugway_server_tools._fetch import Fetched, Fetcher
from plugway_server_tools._options import SearchOptions, ServerToolsOptions
from plugway_server_tools._providers import Found, Query
from plugway_server_tools._search import Search, argument_of, mounted
from plugway_tools import JudgesCalls
from plugway_tools.safety import Held

_CODE: Final = ("code", "script", "source", "command", "python")
"""Names of the argument of tools that run code."""


class Services:
    """The configured services. Open them before use: `async with services`."""

    def __init__(self, options: ServerToolsOptions) -> None:
        """Raises `PlugwayError`: the provider's proxy or key does not fit its URL."""
        search, fetch = options.web_search, options.web_fetch
        self._search_options = search
        self._fetch_options = fetch
        self._code = options.code_execution
        self._gateway: Gateway | None = None
        self._search = Search(search) if search is not None else None
        self._fetcher = Fetcher(fetch) if fetch is not None else None

    @property
    def any(self) -> bool:
        """Whether anything is configured."""
        return self._search is not None or self._fetcher is not None

    def find_tools_in(self, gateway: Gateway) -> None:
        """Set where mounted tools, and plugins that judge calls, are searched for."""
        self._gateway = gateway
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
        if base == "code_execution":
            return "" if self._code else None
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

    @property
    def judges(self) -> Sequence[tuple[str, JudgesCalls]]:
        """The plugins that judge calls, with their names."""
        return self._gateway.find(JudgesCalls) if self._gateway else ()

    async def code_tool(self) -> tuple[Held, str]:
        """The tool that runs code, granted by its name in the options, and its argument for the
        code. Raises `ToolFailed` if it is not mounted."""
        holder, spec = await mounted(self._gateway, self._code or "")
        return Held(spec, holder, granted=True), argument_of(spec, *_CODE)

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
