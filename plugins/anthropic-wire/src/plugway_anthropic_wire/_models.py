"""Entries of model lists, in the shapes that servers of this protocol give them. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from plugway import ModelInfo, as_object, named_entries

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


def entries_of(listed: Any) -> list[dict[str, Any]]:
    """The entries of a list in Anthropic's or OpenAI's shape that have an id."""
    return named_entries(as_object(listed).get("data"))


def model_of(entry: Mapping[str, Any]) -> ModelInfo:
    """A model as its entry describes it; what the entry leaves out stays unknown."""
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


def positive(value: Any) -> int:
    """`value` where it is a count of tokens, otherwise 0: unknown."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def seen(*names: tuple[str, bool]) -> frozenset[str]:
    """The names that hold: `seen(("tools", True), ("images", False))`."""
    return frozenset(name for name, holds in names if holds)


def _created(entry: Mapping[str, Any]) -> str:
    """RFC 3339, also from the seconds that lists in OpenAI's shape carry."""
    text, seconds = entry.get("created_at"), entry.get("created")
    if isinstance(text, str) and text:
        return text
    at = seconds if isinstance(seconds, int) and 0 < seconds < 2**33 else 0
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
