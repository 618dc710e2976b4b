"""The options: who runs which server tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from plugway import NetworkOptions, Options, Secret, url_problem
from plugway_http.client.url import is_loopback

ADDRESSES: Final = {
    "brave": "https://api.search.brave.com",
    "tavily": "https://api.tavily.com",
    "exa": "https://api.exa.ai",
}
"""The addresses of the services with a key."""
EVERY_ZONE: Final = "*"


class SearchOptions(NetworkOptions):
    """Options of `web_search`."""

    provider: Literal["searxng", "brave", "tavily", "exa", "tool"]
    """Who searches: a SearXNG server, a service with a key, or `tool`, a tool of another plugin."""
    api_key: Secret | None = None
    """Key of the service: `{$keyring: NAME}`, `{$env: NAME}` or `{$file: PATH}`."""
    url: str | None = None
    """URL of the provider; needed for `searxng`."""
    tool: str | None = None
    """For the provider `tool`: the name of a mounted tool that takes a query and returns links,
    as `plugway mcp list` shows it."""
    results: int = Field(default=8, ge=1, le=20)
    """Maximum number of results of one search."""
    seconds: float = Field(default=10.0, gt=0, le=60)
    """Time limit of one search."""
    zone: str | None = None
    """Who receives the queries: `local` on this machine, else the provider's name."""
    from_zones: tuple[str, ...] = ()
    """Zones of the backends whose conversations may send queries to the provider, besides its own;
    `*` for all. A provider in the zone `local` receives queries from all."""

    @field_validator("url")
    @classmethod
    def _url_fits(cls, url: str | None, info: ValidationInfo) -> str:
        provider = str(info.data.get("provider"))
        url = (url or ADDRESSES.get(provider, "")).rstrip("/")
        if provider == "searxng" and not url:
            raise ValueError("`searxng` needs the URL of the server, as `http://127.0.0.1:8888`")
        if url and (problem := url_problem(url, with_key=info.data.get("api_key") is not None)):
            raise ValueError(problem)
        return url

    @model_validator(mode="after")
    def _provider_is_complete(self) -> SearchOptions:
        if self.provider in ADDRESSES and self.api_key is None:
            raise ValueError(f"`{self.provider}` needs an `api_key`")
        if (self.provider == "tool") != bool(self.tool):
            raise ValueError("`provider: tool` and `tool: NAME` belong together")
        return self

    @property
    def receives(self) -> str:
        """The zone of the provider."""
        near = self.provider != "tool" and is_loopback(self.url or "")
        return self.zone or ("local" if near else self.tool or self.provider)

    def serves(self, zone: str) -> bool:
        """Whether conversations in `zone` may send queries to the provider."""
        return self.receives in ("local", zone) or not {zone, EVERY_ZONE}.isdisjoint(
            self.from_zones
        )


def in_url(host: str) -> str:
    """A host as it is written in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _host_fits(entry: str) -> str:
    if url_problem(f"http://{entry}", with_key=False) or "/" in entry:
        raise ValueError(f"{entry!r} is not a host, or a host and a port")
    parts = urlsplit(f"http://{entry}")
    host = in_url((parts.hostname or "").rstrip("."))
    return host if parts.port is None else f"{host}:{parts.port}"


class FetchOptions(Options):
    """Options of `web_fetch`."""

    from_zones: tuple[str, ...] = Field(min_length=1)
    """Zones of the backends whose conversations may fetch pages; `*` for all. The server of a page
    learns its URL and this machine's address."""
    allow_hosts: tuple[Annotated[str, AfterValidator(_host_fits)], ...] = ()
    """Hosts, or `HOST:PORT`, that may be fetched although they are not public, or have another
    port than 80, 443, 8080 and 8443."""
    max_characters: int = Field(default=40_000, ge=1_000, le=1_000_000)
    """Maximum length of a page's text; the rest is cut off."""
    max_bytes: int = Field(default=4 * 2**20, ge=1_000, le=64 * 2**20)
    """Maximum size of a page, also after decompression."""
    seconds: float = Field(default=20.0, gt=0, le=120)
    """Time limit of one page, with its redirects."""
    ca_file: Path | None = None
    """CA certificates (PEM) to trust in addition to those of this machine."""

    @field_validator("ca_file")
    @classmethod
    def _file_exists(cls, path: Path | None) -> Path | None:
        if path is not None and not (path := path.expanduser()).is_file():
            raise ValueError(f"there is no file {path}")
        return path

    def serves(self, zone: str) -> bool:
        """Whether conversations in `zone` may fetch pages."""
        return not {zone, EVERY_ZONE}.isdisjoint(self.from_zones)


class ServerToolsOptions(Options):
    """Options of `server-tools`."""

    run_by: dict[str, tuple[str, ...]] = Field(default={})
    """Name of a backend -> prefixes of the server tool types that it runs itself: `web_search`,
    `web_fetch`. Anthropic's own backend runs them all, and `openai` declares what it runs."""
    web_search: SearchOptions | None = None
    """Run `web_search` here, for backends that do not; see below. Without it, searches are reported
    as unavailable."""
    web_fetch: FetchOptions | None = None
    """Run `web_fetch` here, for backends that do not; see below."""
    code_execution: str | None = None
    """Name of a mounted tool that runs Python code (`plugway mcp list` shows them), by which
    `code_execution` is run. This grants its calls; after text from outside they are refused."""
