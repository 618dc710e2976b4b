"""Reads model lists: their pages, and the entries of different servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from plugway import Headers, ModelInfo, Upstream, as_object, named_entries
from plugway_wire.names import MAX_MODELS

MAX_PAGES: Final = 20
MORE_SECONDS: Final = 1.0
"""After this time no further page is requested: the gateway waits 2 s for a list, and a partial
list is better than none."""
MAX_CURSOR: Final = 2048
"""Maximum length of a page cursor."""
_WINDOW: Final = (
    "max_input_tokens",
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
)
_OUTPUT: Final = ("max_tokens", "max_output_tokens")
_NAMES: Final = {
    "image_input": "images",
    "thinking": "thinking",
    "structured_outputs": "structured_output",
}


async def every_page(
    upstream: Upstream,
    path: str,
    entries: Callable[[Mapping[str, Any]], list[dict[str, Any]]],
    following: Callable[[Mapping[str, Any]], str],
    *,
    headers: Headers = (),
    key: str = "id",
) -> list[dict[str, Any]]:
    """The entries of all pages, unique by `key`, at most 1,000.

    `following` returns the path of the next page, empty after the last. Stops at a page that was
    already requested or has no new entry, because such a chain is endless.

    Raises:
        BackendError: a page cannot be loaded.
    """
    found: dict[str, dict[str, Any]] = {}
    asked = {""}
    began = time.monotonic()
    while path not in asked and len(asked) <= MAX_PAGES:
        asked.add(path)
        page = as_object(await upstream.fetch_json(path, headers=headers))
        before = len(found)
        for entry in entries(page):
            found.setdefault(entry[key], entry)
        late = time.monotonic() - began > MORE_SECONDS
        if late or len(found) == before or len(found) >= MAX_MODELS:
            break
        path = following(page)
    return list(found.values())[:MAX_MODELS]


def entries_of(listed: Any) -> list[dict[str, Any]]:
    """The entries with an id, of a list in Anthropic's or OpenAI's shape."""
    return named_entries(as_object(listed).get("data"))


def model_of(entry: Mapping[str, Any]) -> ModelInfo:
    """A model from its entry; missing fields stay unknown."""
    capabilities = as_object(entry.get("capabilities"))
    supported = {
        name for key, name in _NAMES.items() if as_object(capabilities.get(key)).get("supported")
    }
    display_name = entry.get("display_name")
    return ModelInfo(
        id=entry["id"],
        display_name=display_name if isinstance(display_name, str) else "",
        context_tokens=next(filter(None, (positive(entry.get(key)) for key in _WINDOW)), 0),
        max_output_tokens=next(filter(None, (positive(entry.get(key)) for key in _OUTPUT)), 0),
        capabilities=frozenset(supported),
        created_at=_created(entry),
        extra={"capabilities": capabilities} if capabilities else {},
    )


def toolless_notice(model: str) -> str:
    """A notice that a model does not support tools, according to its server."""
    return (
        f"`{model}` cannot call tools, according to its server: agents such as Claude Code can "
        "only chat with it."
    )


def positive(value: Any) -> int:
    """`value` if it is a token count, else 0 (unknown)."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def seen(*names: tuple[str, bool]) -> frozenset[str]:
    """The names with a true value: `seen(("tools", True), ("images", False))`."""
    return frozenset(name for name, holds in names if holds)


def _created(entry: Mapping[str, Any]) -> str:
    """The creation time as RFC 3339; lists in OpenAI's shape have seconds."""
    text, seconds = entry.get("created_at"), entry.get("created")
    if isinstance(text, str) and text:
        return text
    at = seconds if isinstance(seconds, int) and 0 < seconds < 2**33 else 0
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
