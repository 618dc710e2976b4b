"""Searches and fetches that clients of other APIs ask for, as tools of the Messages API. Pure.

Their dialects leave these tools out, because a backend may have none. Shapes:
`types/responses/web_search_tool.py` and `web_search_preview_tool.py` of the `openai` SDK; `Tool` of
https://ai.google.dev/api/caching.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import InvalidRequest, Original, as_list, as_object

_SEARCH: Final = re.compile(r"web_search(?:_preview)?(?:_[0-9_]{8,10})?")
_SEARCHES: Final = ("googleSearch", "google_search", "googleSearchRetrieval")
_FETCHES: Final = ("urlContext", "url_context")


def hosted_tools(original: Original | None) -> list[dict[str, Any]]:
    """The typed tools for what a request of another API asks its vendor's servers to do."""
    if original is None:
        return []
    try:
        tools = [as_object(tool) for tool in as_list(original.get("tools"))]
    except InvalidRequest:
        return []
    read = _of_google if original.dialect.startswith("gemini-") else _of_openai
    found = [made for tool in tools for made in read(tool)]
    return list({tool["type"]: tool for tool in found}.values())


def _of_openai(tool: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not _SEARCH.fullmatch(str(tool.get("type"))):
        return []
    if tool.get("external_web_access") is False:  # only what OpenAI's servers have already
        return []
    filters = as_object(tool.get("filters"))
    return [_search(filters.get("allowed_domains"), filters.get("blocked_domains"))]


def _of_google(tool: Mapping[str, Any]) -> list[dict[str, Any]]:
    searches = [as_object(tool[name]) for name in _SEARCHES if name in tool]
    found = [_search(None, search.get("excludeDomains")) for search in searches]
    if any(name in tool for name in _FETCHES):
        found.append({"type": "web_fetch_20250910", "name": "web_fetch"})
    return found


def _search(allowed: Any, blocked: Any) -> dict[str, Any]:
    domains = {"allowed_domains": as_list(allowed), "blocked_domains": as_list(blocked)}
    kept = {name: values for name, values in domains.items() if values}
    return {"type": "web_search_20250305", "name": "web_search", **kept}
