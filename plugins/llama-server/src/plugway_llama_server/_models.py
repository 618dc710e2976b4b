"""Parses llama-server's responses about its models. Pure functions.

Sources: `tools/server/server-context.cpp` (`get_res_model_info`, `get_res_props`) and
`server-models.cpp` (`get_router_models`) of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
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


def info_of(entry: Mapping[str, Any], props: Mapping[str, Any]) -> ModelInfo:
    """A model from its entry in `/v1/models` and, if only one is served, from `/props`."""
    meta, status = as_object(entry.get("meta")), entry.get("status")
    settings = as_object(props.get("default_generation_settings"))
    window = positive(settings.get("n_ctx")) or positive(meta.get("n_ctx"))
    state: LoadState = "loaded"
    if status is not None:  # a router: it lists models that it has not loaded
        value = as_object(status)
        state = _STATES.get(str(value.get("value")), "unknown")
        window = window or _asked_window(as_list(value.get("args")))
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


def _asked_window(arguments: list[Any]) -> int:
    """The window that a router will start a model with, if its arguments state one."""
    for name, value in pairwise(arguments):
        if name in _WINDOW_ARGUMENTS and str(value).isdigit():
            return int(value)
    return 0
