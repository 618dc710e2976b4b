"""LM Studio's lists of models, of its REST API v1 (from 0.4.0) and v0. Pure functions.

Sources: lmstudio.ai/docs/developer/rest, "List your models" and "REST API v0".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugway import ModelInfo, as_list, as_object, named_entries
from plugway_anthropic_wire import positive, seen

_STATES = {"loaded": "loaded", "loading": "loading", "not-loaded": "unloaded"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of either list, also one that embeds."""

    key: str
    size: int = 0
    """Bytes of its files; 0 if unknown, as in v0."""
    largest: int = 0
    """Its maximum window."""
    instances: tuple[str, ...] = ()
    """Ids of its loaded instances; empty in v0, which has none."""
    window: int = 0
    """Window that it is loaded with, the smallest of all instances."""
    variants: tuple[str, ...] = ()
    """Its names with a quantisation."""
    state: str = "unloaded"

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return self.state == "loaded"


def entries_of(listed: Any) -> list[Entry]:
    """The models of either list."""
    found = as_object(listed)
    return [
        *map(_entry_of_v1, named_entries(found.get("models"), "key")),
        *map(_entry_of_v0, named_entries(found.get("data"))),
    ]


def _entry_of_v1(entry: Mapping[str, Any]) -> Entry:
    instances = named_entries(entry.get("loaded_instances"))
    return Entry(
        key=entry["key"],
        size=positive(entry.get("size_bytes")),
        largest=positive(entry.get("max_context_length")),
        instances=tuple(instance["id"] for instance in instances),
        window=_window_of(entry),
        variants=tuple(str(name) for name in as_list(entry.get("variants"))),
        state="loaded" if instances else "unloaded",
    )


def _entry_of_v0(entry: Mapping[str, Any]) -> Entry:
    window = positive(entry.get("loaded_context_length"))
    state = _STATES.get(str(entry.get("state")), "unknown")
    return Entry(key=entry["id"], window=window, state=state)


def _window_of(entry: Mapping[str, Any]) -> int:
    loaded = [as_object(item) for item in as_list(entry.get("loaded_instances"))]
    windows = [positive(as_object(item.get("config")).get("context_length")) for item in loaded]
    return min(filter(None, windows), default=0)


def models_of(listed: Any, unloaded_window: int) -> list[ModelInfo]:
    """The models that can chat, from either list.

    `unloaded_window` is the window of models that are not loaded; 0 means their maximum.
    """
    found = as_object(listed)
    models = [
        *map(_from_v1, named_entries(found.get("models"), "key")),
        *map(_from_v0, named_entries(found.get("data"))),
    ]
    return [_info(unloaded_window, **model) for model in models if model]


def _from_v1(entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry.get("type") == "embedding":
        return {}
    able = as_object(entry.get("capabilities"))
    return {
        "id": entry["key"],
        "display_name": str(entry.get("display_name") or ""),
        "state": "loaded" if as_list(entry.get("loaded_instances")) else "unloaded",
        "window": _window_of(entry),
        "largest": positive(entry.get("max_context_length")),
        "capabilities": seen(
            ("tools", bool(able.get("trained_for_tool_use"))),
            ("images", bool(able.get("vision"))),
            ("thinking", bool(able.get("reasoning"))),
        ),
    }


def _from_v0(entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry.get("type") == "embeddings":
        return {}
    return {
        "id": entry["id"],
        "display_name": "",
        "state": _STATES.get(str(entry.get("state")), "unknown"),
        "window": positive(entry.get("loaded_context_length")),
        "largest": positive(entry.get("max_context_length")),
        "capabilities": seen(
            ("tools", "tool_use" in as_list(entry.get("capabilities"))),
            ("images", entry.get("type") == "vlm"),
        ),
    }


def _info(unloaded_window: int, *, window: int, largest: int, **known: Any) -> ModelInfo:
    extra = {"largest_context_tokens": largest} if largest else {}
    return ModelInfo(context_tokens=window or unloaded_window or largest, extra=extra, **known)
