"""Runs web searches through the configured provider."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from plugway import (
    BackendError,
    BackendRefused,
    BackendTimeout,
    Exchange,
    Gateway,
    Upstream,
    as_object,
    new_id,
)
from plugway_server_tools._options import SearchOptions
from plugway_server_tools._providers import PROVIDERS, Found, Query, found_in, is_link, list_in
from plugway_tools import HoldsTools, ToolCall, ToolResult, ToolSpec

log = logging.getLogger("plugway.server-tools")
MAX_QUERY: Final = 1_000
"""Characters of a query for a mounted tool."""
_ARGUMENTS: Final = ("query", "q", "search_query", "text", "input")
_LINK: Final = re.compile(r"\[([^\[\]]{1,300})\]\((https?://[^\s()<>]{1,2000})\)")
_PLAIN_LINK: Final = re.compile(r"https?://[^\s()<>\[\]\"']{1,2000}")


class ToolFailed(Exception):
    """A call failed."""

    def __init__(self, code: str, reason: str) -> None:
        """`code` is one of the tool's `*_tool_result_error_code` of the `anthropic` SDK; `reason`
        is a sentence for the model and the receipt, without anything that an outsider wrote."""
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Search:
    """The configured provider. Open it before use: `async with search`."""

    def __init__(self, options: SearchOptions) -> None:
        """Raises `PlugwayError`: the proxy or the key does not fit the URL."""
        self._options = options
        self._gateway: Gateway | None = None
        self._provider = PROVIDERS.get(options.provider)
        self._upstream: Upstream | None = None
        if self._provider is not None:
            key = options.api_key.get_secret_value() if options.api_key else ""
            self._upstream = Upstream(
                options.url or "",
                credentials=dict(self._provider.key(key)) if key else None,
                network=options,
                zone=options.receives,
            )

    def find_tool_in(self, gateway: Gateway) -> None:
        """Set where a mounted tool is searched for."""
        self._gateway = gateway

    async def __aenter__(self) -> Search:
        """Open the connection pool."""
        if self._upstream is not None:
            await self._upstream.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close all connections."""
        if self._upstream is not None:
            await self._upstream.__aexit__(*exc)

    async def run(self, query: Query, exchange: Exchange) -> list[Found]:
        """The results, at most `query.results`.

        Raises:
            ToolFailed: the query is too long, or the provider failed.
        """
        longest = self._provider.longest if self._provider else MAX_QUERY
        if len(query.text) > longest:
            raise ToolFailed("query_too_long", f"A query may have {longest} characters.")
        data = await (self._asked(query) if self._provider else self._called(query, exchange))
        if list_in(data) is None:
            raise ToolFailed("unavailable", f"{self._name} sent no list of results.")
        return found_in(data, query)

    @property
    def _name(self) -> str:
        options = self._options
        return f"The tool `{options.tool}`" if options.tool else f"`{options.provider}`"

    async def _asked(self, query: Query) -> Any:
        """The response of the provider's server."""
        assert self._provider is not None
        assert self._upstream is not None
        path, body = self._provider.request(query)
        try:
            return await self._upstream.fetch_json(path, body=body, seconds=self._options.seconds)
        except BackendRefused as refused:
            status = refused.status
            if status == 429:
                raise ToolFailed("too_many_requests", f"{self._name} is rate limited.") from None
            fix = self._provider.hints.get(status, "see the server's log")
            reason = f"{self._name} answered with status {status}: {fix}."
            raise ToolFailed("unavailable", reason) from None
        except BackendTimeout:
            seconds = f"{self._options.seconds:g} s"
            raise ToolFailed("unavailable", f"{self._name} timed out after {seconds}.") from None
        except BackendError as error:
            record = error.record.replace(path, "").replace(self._options.url or "", self._name)
            raise ToolFailed("unavailable", f"{self._name} failed: {record}.") from None

    async def _called(self, query: Query, exchange: Exchange) -> Any:
        """The result of the mounted tool as a list of results."""
        holder, spec = await mounted(self._gateway, self._options.tool or "")
        if spec.effect != "read":
            raise ToolFailed("unavailable", f"{self._name} may write or run, so it cannot search.")
        argument = argument_of(spec, *_ARGUMENTS)
        call = ToolCall(new_id("toolu"), spec.name, {argument: query.text}, exchange)
        seconds = self._options.seconds
        try:
            async with asyncio.timeout(seconds):
                result = await holder.run_tool(call)
        except TimeoutError:
            reason = f"{self._name} timed out after {seconds:g} s."
            raise ToolFailed("unavailable", reason) from None
        except Exception:  # another plugin's code
            log.exception("a search by `%s` failed", spec.name)
            raise ToolFailed("unavailable", f"{self._name} failed.") from None
        if result.is_error:
            raise ToolFailed("unavailable", f"{self._name} failed.")
        return _links(result)


async def mounted(gateway: Gateway | None, name: str) -> tuple[HoldsTools, ToolSpec]:
    """The tool of another plugin. Raises `ToolFailed` if there is none."""
    for _, holder in gateway.find(HoldsTools) if gateway else ():
        for spec in await holder.tools():
            if spec.name == name:
                return holder, spec
    reason = f"The tool `{name}` is not mounted, or not allowed: see `plugway mcp list`."
    raise ToolFailed("unavailable", reason)


def argument_of(spec: ToolSpec, *names: str) -> str:
    """The argument of a tool that takes one text: the first of `names` that it has, else its first
    one."""
    known = as_object(spec.input_schema.get("properties"))
    return next((name for name in names if name in known), next(iter(known), names[0]))


def _links(result: ToolResult) -> Any:
    """The results of a tool: its data, JSON in its text, or the links in its text."""
    if list_in(result.structured) is not None:
        return result.structured
    text = result.text
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        data = None
    return _links_in(text) if list_in(data) is None else data


def _links_in(text: str) -> list[Mapping[str, str]]:
    """Links in a text, each with the text up to the next one."""
    marked = list(_LINK.finditer(text))
    if marked:
        ends = [*(one.start() for one in marked[1:]), len(text)]
        return [
            {"url": one[2], "title": one[1], "text": text[one.end() : end]}
            for one, end in zip(marked, ends, strict=True)
        ]
    plain = [one for one in _PLAIN_LINK.finditer(text) if is_link(one[0].rstrip(".,;:"))]
    ends = [*(one.start() for one in plain[1:]), len(text)]
    return [
        {
            "url": (url := one[0].rstrip(".,;:")),
            "title": urlsplit(url).hostname or url,
            "text": text[one.end() : end],
        }
        for one, end in zip(plain, ends, strict=True)
    ]
