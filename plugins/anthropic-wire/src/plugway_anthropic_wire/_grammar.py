"""Names the tools in errors of servers that cannot build a grammar from a tool's schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from plugway import BackendError, BackendRefused, MessagesRequest, as_list, as_object

_GRAMMAR: Final = re.compile(
    r"grammar|json[ _]schema|sampler|pattern must start|generate parser|number of repetitions", re.I
)
_OTHER_CAUSE: Final = re.compile(
    r"raise_exception|jinja exception|failed to parse input at|produced output|parsing tool call",
    re.I,
)
"""Errors of the chat template, which refuses the conversation, and about what the model wrote,
which may contain any word. llama.cpp builds its parser from the template, and says so."""
_NAMED: Final = re.compile(
    r"JSON schema error at \S+: (?:cannot resolve |unsupported |unrecognized )?(\$?\w+)"
)
"""llama.cpp names the keyword and the place in the schema, and not the tool."""
_SUSPECT: Final = (
    *("pattern", "patternProperties", "format", "maxLength", "minLength", "maxItems", "minItems"),
    *("propertyNames", "contains", "not", "$ref", "allOf", "oneOf", "anyOf"),
)
"""Keywords that grammars often do not support, the most common first."""
_MOST: Final = 5
_STATUSES: Final = frozenset((400, 422, 500, 502))


def named_tools(failure: BackendError, request: MessagesRequest) -> BackendError:
    """Name the tools whose schemas may have caused `failure`, if it is about a grammar."""
    if not isinstance(failure, BackendRefused) or failure.status not in _STATUSES:
        return failure
    message = failure.message[:2000]
    if failure.native or failure.permanent or not _GRAMMAR.search(message):
        return failure
    if _OTHER_CAUSE.search(message):
        return failure
    tools = as_list(request.get("tools"))
    keyword = _NAMED.search(message)
    suspects = _having(keyword[1], tools) if keyword else []
    suspects = suspects or _suspects(tools)
    if not suspects or any(
        f"'{name}'" in message or f"`{name}`" in message for name, _ in suspects
    ):
        return failure
    named = ", ".join(f"`{name}` (`{keyword}`)" for name, keyword in suspects)
    return BackendRefused(
        failure.status,
        failure.body,
        headers=failure.headers,
        retry_after=failure.retry_after,
        message=f"{message}. The likely cause is a tool's schema: {named}. Remove the tool, or "
        "the keyword from its schema",
        permanent=True,
    )


def _having(keyword: str, tools: Sequence[Any]) -> list[tuple[str, str]]:
    """The tools whose schemas contain a keyword."""
    found = [
        (str(tool.get("name")), keyword)
        for tool in map(as_object, tools)
        if keyword in _keywords(tool.get("input_schema"), 0)
    ]
    return found[:_MOST]


def _suspects(tools: Sequence[Any]) -> list[tuple[str, str]]:
    """Each tool with its most suspicious keyword; without any, the tool with the largest schema."""
    found: list[tuple[int, str, str]] = []
    sizes: list[tuple[int, str]] = []
    for tool in map(as_object, tools):
        keywords = list(_keywords(tool.get("input_schema"), 0))
        sizes.append((len(keywords), str(tool.get("name"))))
        ranks = [_SUSPECT.index(keyword) for keyword in keywords if keyword in _SUSPECT]
        if ranks:
            found.append((min(ranks), str(tool.get("name")), _SUSPECT[min(ranks)]))
    if found:
        return [(name, keyword) for _, name, keyword in sorted(found)[:_MOST]]
    return [(max(sizes)[1], "the largest schema")] if len(sizes) > 0 and max(sizes)[0] else []


def _keywords(schema: Any, depth: int) -> Iterator[str]:
    if depth > 30:
        return
    if isinstance(schema, list):
        for item in as_list(schema):
            yield from _keywords(item, depth + 1)
    for key, item in as_object(schema).items():
        yield key
        inner = as_object(item).values() if key in ("properties", "$defs") else (item,)
        for part in inner:
            if isinstance(part, dict | list):
                yield from _keywords(part, depth + 1)
