"""Parses llama-server's responses about its models. Pure functions.

Sources: `tools/server/server-context.cpp` (`get_res_model_info`, `get_res_props`) and
`server-models.cpp` (`get_router_models`) of llama.cpp.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from plugway import ModelInfo, as_list, as_object
from plugway_anthropic_wire import positive, seen

LoadState = Literal["loaded", "unloaded", "loading", "unknown"]

_STATES: Final[Mapping[str, LoadState]] = {
    "loaded": "loaded",
    "sleeping": "loaded",
    "loading": "loading",
    "downloading": "loading",
    "unloaded": "unloaded",
}
_WINDOW_ARGUMENTS: Final = frozenset(("-c", "--ctx-size"))
_FILE_ARGUMENTS: Final = frozenset(("-m", "--model"))
_SHARD: Final = re.compile(r"-\d{5}(-of-\d{5}\.gguf)$")
IN_MEMORY: Final = frozenset(("loaded", "loading"))
"""States in which a router's model needs memory; one that sleeps has given it back."""


def is_router(entries: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the server has many models: only then entries have a status."""
    return any("status" in entry for entry in entries)


def state_of(entry: Mapping[str, Any]) -> str:
    """`loaded`, `loading`, `unloaded` or another state of a router; `loaded` without a status."""
    if "status" not in entry:
        return "loaded"
    return str(as_object(entry["status"]).get("value"))


def aliases_of(entry: Mapping[str, Any]) -> list[str]:
    """Other names of a router's model."""
    return [alias for alias in as_list(entry.get("aliases")) if isinstance(alias, str)]


def weights_of(entry: Mapping[str, Any]) -> int:
    """Bytes of a loaded model's weights; 0 if unknown."""
    return positive(as_object(entry.get("meta")).get("size"))


def file_bytes(entry: Mapping[str, Any]) -> int:
    """Bytes of the files of a router's model; 0 if it does not name them by their full path, or
    they are not here. Reads the file system."""
    arguments = _texts(as_object(entry.get("status")).get("args"))
    given = (value for name, value in pairwise(arguments) if name in _FILE_ARGUMENTS)
    path = Path(str(entry.get("path") or next(given, "")))
    if not path.is_absolute():
        return 0
    pattern = _SHARD.sub(r"-?????\1", glob.escape(path.name))
    with contextlib.suppress(OSError, ValueError):  # such as a name that no file can have
        return sum(part.stat().st_size for part in path.parent.glob(pattern))
    return 0


def info_of(entry: Mapping[str, Any], props: Mapping[str, Any]) -> ModelInfo:
    """A model from its entry in `/v1/models` and, if only one is served, from `/props`."""
    meta, status = as_object(entry.get("meta")), entry.get("status")
    settings = as_object(props.get("default_generation_settings"))
    window = positive(settings.get("n_ctx")) or positive(meta.get("n_ctx"))
    state: LoadState = "loaded"
    if status is not None:  # a router: it lists models that it has not loaded
        value = as_object(status)
        state = _STATES.get(str(value.get("value")), "unknown")
        window = window or _asked_window(_texts(value.get("args")))
    kinds = as_list(as_object(entry.get("architecture")).get("input_modalities"))
    templates = as_object(props.get("chat_template_caps"))
    vision = bool(as_object(props.get("modalities")).get("vision")) or "image" in kinds
    trained = positive(meta.get("n_ctx_train"))
    return ModelInfo(
        id=str(entry["id"]),
        context_tokens=window,
        state=state,
        capabilities=seen(
            ("tools", bool(templates.get("supports_tools"))),
            ("images", vision),
            ("thinking", "enable_thinking" in str(props.get("chat_template") or "")),
        ),
        extra={"trained_context_tokens": trained} if trained else {},
    )


def _texts(values: Any) -> list[str]:
    """The items of a list as text."""
    return [str(value) for value in as_list(values)]


def _asked_window(arguments: list[str]) -> int:
    """The window that a router will start a model with, if its arguments state one."""
    for name, value in pairwise(arguments):
        if name in _WINDOW_ARGUMENTS and value.isdecimal() and len(value) < 10:
            return int(value)
    return 0
