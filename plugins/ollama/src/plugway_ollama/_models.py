"""Reads a model's window and state from Ollama's responses. Pure functions.

Sources: Ollama's API reference (`/api/tags`, `/api/show`, `/api/ps`), and its page on context
length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import ModelInfo, as_list, as_object, named_entries
from plugway_anthropic_wire import positive, seen, toolless_notice


def names_of(tags: Any) -> dict[str, dict[str, Any]]:
    """The entries of `/api/tags` or `/api/ps` by name."""
    entries = named_entries(as_object(tags).get("models"), "name")
    return {entry["name"]: entry for entry in entries}


def is_cloud(entry: Mapping[str, Any]) -> bool:
    """Whether a model runs on another machine although this one lists it."""
    return bool(entry.get("remote_host")) or is_cloud_name(str(entry.get("name", "")))


def is_cloud_name(name: str) -> bool:
    """The same by name: `glm-4.7:cloud`, `gpt-oss:120b-cloud`."""
    tag = name.rpartition(":")[2]
    return tag == "cloud" or tag.endswith("-cloud")


def info_of(
    entry: Mapping[str, Any],
    shown: Mapping[str, Any],
    running: Mapping[str, Any] | None,
    default_window: int,
) -> ModelInfo:
    """A model from its entries in `/api/tags`, `/api/show` and, if loaded, `/api/ps`."""
    able = frozenset(map(str, as_list(shown.get("capabilities"))))
    limit = trained_window(shown)
    window = positive((running or {}).get("context_length")) or asked_window(shown)
    if not window:
        window = limit if is_cloud(entry) else default_window
    capabilities = seen(
        ("tools", "tools" in able), ("images", "vision" in able), ("thinking", "thinking" in able)
    )
    extra: dict[str, Any] = {"trained_context_tokens": limit} if limit else {}
    if not is_cloud(entry):
        extra["cuts_prompts"] = (
            True  # read by `context-guard`; the server never rejects a long prompt
        )
    return ModelInfo(
        id=str(entry["name"]),
        context_tokens=min(window, limit) if limit else window,
        state="loaded" if running is not None else "unloaded",
        capabilities=capabilities,
        created_at=str(entry.get("modified_at") or "1970-01-01T00:00:00Z"),
        extra=extra,
        notice=toolless_notice(str(entry["name"])) if able and "tools" not in able else "",
    )


def short_name(name: str) -> str:
    """A model's name as `/api/ps` has it: with a tag, without the default host and namespace
    (`DisplayShortest` of Ollama's `types/model/name.go`)."""
    name = name.removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def key_of(name: str) -> str:
    """Equal for names that mean the same model; Ollama ignores their case."""
    return short_name(name).casefold()


def own_name(name: str, entries: Mapping[str, Any]) -> str:
    """The name of the listed model that `name` is a variant of, else its short name."""
    short = short_name(name)
    base, _, window = short.rpartition("-ctx")
    return base if window.isdigit() and base in entries else short


def trained_window(shown: Mapping[str, Any]) -> int:
    """The model's maximum window: `<architecture>.context_length` of `model_info`."""
    info = as_object(shown.get("model_info"))
    named = info.get(f"{info.get('general.architecture')}.context_length")
    found = (value for key, value in info.items() if key.endswith(".context_length"))
    return positive(named) or positive(next(found, 0))


def asked_window(shown: Mapping[str, Any]) -> int:
    """`num_ctx` of the model's own parameters, which come as lines of text."""
    for line in str(shown.get("parameters") or "").splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        if name == "num_ctx" and value.isdecimal() and len(value) < 10:
            return int(value)
    return 0


def window_for(shown: Mapping[str, Any], wanted: int) -> int:
    """The window to load a model with: at most its maximum."""
    return min(wanted, trained_window(shown) or wanted)


def variant_name(model: str, shown: Mapping[str, Any], wanted: int) -> str:
    """Name of the variant of `model` with that window; its own name if it already has it."""
    window = window_for(shown, wanted)
    if asked_window(shown) == window:
        return model
    tagged = model if ":" in model.rpartition("/")[2] else f"{model}:latest"
    return f"{tagged}-ctx{window}"


def is_variant(name: str, entries: Mapping[str, Any]) -> bool:
    """Whether `name` is a variant of another listed model."""
    base, _, window = name.rpartition("-ctx")
    return window.isdigit() and base in entries
