"""Which URLs a model may fetch: those that appeared in the conversation. Pure.

A model could be talked into sending a conversation away inside a URL that it makes up. So, as on
Anthropic's servers, a page is fetched only if its URL was written by the user, or is in a result of
a tool, a search or an earlier fetch; `url_sources` of the tool narrows that
(`types/web_fetch_url_sources_param.py` of the `anthropic` SDK).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_server_tools._fetch import place_of
from plugway_server_tools._search import ToolFailed
from plugway_translation import blocks_of

_URL: Final = re.compile(
    r"(?<![\w-])(?:https?://)?(?:[\w-]{1,63}\.){1,8}[\w-]{1,63}(?::\d{1,5})?(?:[/?][^\s<>\"'`\\]{0,2000})?"
    r"|https?://[^\s<>\"'`\\]{1,2000}",
    re.IGNORECASE,
)
"""A URL, or a host with or without a path, as people write them."""
_ESCAPED: Final = re.compile("%[0-9A-Fa-f]{2}")
_ENDINGS: Final = ".,;:!?*_)]}"
_TEXTS: Final = ("text", "url", "content", "source", "data", "title")
MAX_DEPTH: Final = 8


class Seen:
    """The texts whose URLs may be fetched."""

    def __init__(self, messages: Any, tool: Mapping[str, Any]) -> None:
        """Reads a conversation, for the tool as the request declares it."""
        self._sources = as_object(tool.get("url_sources"))
        self._texts: list[str] = []
        names: dict[str, str] = {}
        for message in map(as_object, as_list(messages)):
            for block in map(as_object, blocks_of(message.get("content"))):
                if block.get("type") in ("tool_use", "server_tool_use", "mcp_tool_use"):
                    names[str(block.get("id"))] = str(block.get("name"))
                elif self._reads(block, message.get("role"), names):
                    self._texts += _texts(block, MAX_DEPTH)

    def _reads(self, block: Mapping[str, Any], role: Any, names: Mapping[str, str]) -> bool:
        """Whether URLs in a block may be fetched."""
        kind = str(block.get("type"))
        if not kind.endswith("tool_result"):
            return role == "user" and _admits(as_object(self._sources.get("user_input")))
        source = "client_tool_results" if kind == "tool_result" else "server_tool_results"
        name = names.get(str(block.get("tool_use_id")), "")
        return _admits(as_object(self._sources.get(source)), name)

    def add(self, name: str, text: str) -> None:
        """Add the result of the server tool `name`."""
        if _admits(as_object(self._sources.get("server_tool_results")), name):
            self._texts.append(text)

    def has(self, url: str) -> bool:
        """Whether `url` appeared."""
        key = key_of(url)
        host = "" if "xn--" in key else re.split("[/:?]", key)[0]
        part = max(_ESCAPED.split("/".join(key.split("/")[1:])), key=len)
        return bool(key) and any(
            host in text.lower() and part in text and key in _urls_in(text, host, part)
            for text in self._texts
        )


def _urls_in(text: str, host: str, part: str) -> set[str]:
    """The URLs in a text that contain `host` and `part`, in the form of `key_of`."""
    found: set[str] = set()
    for match in _URL.finditer(text):
        written = match[0]
        if part in written and host in written.lower():
            cuts = {written, written.rstrip(_ENDINGS), written.partition(")")[0].rstrip(_ENDINGS)}
            found.update(map(key_of, cuts))
    return found


def key_of(url: str) -> str:
    """A URL without what does not change the page: scheme, fragment, a last slash, case of the
    host; empty if it is invalid."""
    whole = url if "://" in url else f"http://{url}"
    try:
        place = place_of(whole.partition("#")[0])
    except ToolFailed:
        return ""
    port = "" if place.port in (80, 443) else f":{place.port}"
    return f"{place.host}{port}{place.target}".removesuffix("/")


def _admits(rule: Mapping[str, Any], name: str = "") -> bool:
    """Whether a rule of `url_sources` admits results of the tool `name`."""
    named = any(as_object(tool).get("name") == name for tool in as_list(rule.get("tools")))
    match rule.get("type", "all"):
        case "all":
            return True
        case "only":
            return named
        case "except":
            return not named
        case _:
            return False


def _texts(value: Any, depth: int) -> Iterator[str]:
    """The readable strings in a block."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth:
        for item in as_list(value):
            yield from _texts(item, depth - 1)
    elif depth:
        fields = as_object(value)
        if fields.get("type") in ("base64", "image"):
            return
        for name in _TEXTS:
            if name in fields:
                yield from _texts(fields[name], depth - 1)
