"""Usage, stop reason, searches and citations of a Responses reply. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from plugway import StopReason, as_list, as_object
from plugway_translation import Totals, count, usage_of

_CHARACTERS_PER_TOKEN: Final = 4
_TIERS: Final = {"default": "standard", "priority": "priority", "fast": "priority"}


def totals_in(usage: Mapping[str, Any]) -> Totals:
    """Read the counts of a `usage` (`types/responses/response_usage.py`)."""
    prompt = as_object(usage.get("input_tokens_details"))
    answer = as_object(usage.get("output_tokens_details"))
    return Totals(
        count(usage.get("input_tokens")),
        count(usage.get("output_tokens")),
        count(prompt.get("cached_tokens")),
        count(prompt.get("cache_write_tokens")),
        count(answer.get("reasoning_tokens")),
    )


def usage_or_estimate(response: Mapping[str, Any], prompt: int, written: int) -> dict[str, Any]:
    """`usage` of a reply; estimated from prompt tokens and characters written if it has none."""
    usage = as_object(response.get("usage"))
    if not usage:
        answer = -(-written // _CHARACTERS_PER_TOKEN)
        return {"input_tokens": prompt, "output_tokens": answer}
    totals = totals_in(usage)
    usage: dict[str, Any] = dict(usage_of(totals))
    if totals.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": totals.reasoning}
    if tier := _TIERS.get(str(response.get("service_tier"))):
        usage["service_tier"] = tier
    return usage


def finish_of(
    response: Mapping[str, Any], refusal: str | None, calls: int
) -> tuple[StopReason, dict[str, Any] | None]:
    """`stop_reason` and `stop_details`."""
    reason = as_object(response.get("incomplete_details")).get("reason")
    if refusal is not None or reason == "content_filter":
        return "refusal", {"type": "refusal", "category": None, "explanation": refusal}
    if response.get("status") == "incomplete":
        # Truncated for any reason: the client must not take it for the end of a turn.
        return "max_tokens", None
    return ("tool_use" if calls else "end_turn"), None


def search_blocks(item: Mapping[str, Any]) -> tuple[dict[str, Any], str, dict[str, Any]] | None:
    """A web search as Anthropic's blocks: the call without its input, the input's JSON, the result.

    None for pages that the model opened, which have no equivalent.
    """
    action = as_object(item.get("action"))
    if action.get("type") not in (None, "search"):
        return None
    queries = [query for query in as_list(action.get("queries")) if isinstance(query, str)]
    query = action.get("query") or ", ".join(queries)
    id_ = "srvtoolu_" + re.sub(r"\W", "", str(item.get("id") or ""), flags=re.ASCII)
    call: dict[str, Any] = {"type": "server_tool_use", "id": id_, "name": "web_search", "input": {}}
    found = [as_object(source).get("url") for source in as_list(action.get("sources"))]
    content: Any = [
        {
            "type": "web_search_result",
            "url": url,
            "title": _host(url),
            "encrypted_content": "",
            "page_age": None,
        }
        for url in found
        if isinstance(url, str)
    ]
    if item.get("status") == "failed":
        content = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    result = {"type": "web_search_tool_result", "tool_use_id": id_, "content": content}
    return call, orjson.dumps({"query": query}).decode(), result


def citation_of(annotation: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """The citation of a web source; None for files, which only OpenAI can resolve."""
    url, title = annotation.get("url"), annotation.get("title")
    if annotation.get("type") != "url_citation" or not isinstance(url, str):
        return None
    start, end = annotation.get("start_index"), annotation.get("end_index")
    inside = isinstance(start, int) and isinstance(end, int) and 0 <= start <= end
    return {
        "type": "web_search_result_location",
        "url": url,
        "title": title if isinstance(title, str) else None,
        "cited_text": text[start:end] if inside else "",
        "encrypted_index": "",
    }


def whole_of(text: str, state: Mapping[str, Any]) -> bool:
    """Whether a reasoning item has any content."""
    return bool(text or state.get("enc"))


def _host(url: str) -> str:
    """The host of a URL; the text itself if it is not a URL."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url
