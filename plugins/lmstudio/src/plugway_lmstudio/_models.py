"""LM Studio's lists of models, of its REST API v1 (from 0.4.0) and v0. Pure functions.

Sources: lmstudio.ai/docs/developer/rest, "List your models" and "REST API v0".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import ModelInfo, as_list, as_object, named_entries
from plugway_anthropic_wire import positive, seen


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
    loaded = [as_object(item) for item in as_list(entry.get("loaded_instances"))]
    windows = [positive(as_object(item.get("config")).get("context_length")) for item in loaded]
    able = as_object(entry.get("capabilities"))
    return {
        "id": entry["key"],
        "display_name": str(entry.get("display_name") or ""),
        "state": "loaded" if loaded else "unloaded",
        "window": min(filter(None, windows), default=0),
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
    states = {"loaded": "loaded", "loading": "loading", "not-loaded": "unloaded"}
    return {
        "id": entry["id"],
        "display_name": "",
        "state": states.get(str(entry.get("state")), "unknown"),
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
