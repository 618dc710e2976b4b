"""Estimates the memory of an Ollama model from `/api/tags` and `/api/show`. Pure functions.

Sources: `docs/api.md` of Ollama for the fields, its `docs/faq` for the cache (`f16` unless
`OLLAMA_KV_CACHE_TYPE` is set), `GraphSize` of its `fs/ggml/ggml.go` for the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_object
from plugway_anthropic_wire import positive

_RUNNER: Final = 256 * 2**20
"""The runner's process and its buffers."""
_F16: Final = 2
_EVERY: Final = {"cohere2": 4, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gptoss": 2, "gpt-oss": 2}
"""Architectures in which only every n-th layer sees all tokens, the others a sliding window."""


def needed(entry: Mapping[str, Any], shown: Mapping[str, Any], window: int) -> int:
    """Bytes of a model with a window of `window` tokens; 0 if its size is unknown."""
    weights = positive(entry.get("size"))
    return weights + _cache(shown, window) + _RUNNER if weights else 0


def _cache(shown: Mapping[str, Any], window: int) -> int:
    """Bytes of the cache for one conversation; 0 if the model's shape is unknown."""
    info = as_object(shown.get("model_info"))
    kind = info.get("general.architecture")

    def number(name: str) -> int:
        return positive(info.get(f"{kind}.{name}"))

    layers, heads = number("block_count"), number("attention.head_count")
    width = number("embedding_length") // heads if heads else 0
    per_head = (number("attention.key_length") or width) + (
        number("attention.value_length") or width
    )
    # A list of heads per layer is null unless `verbose` is set; then nothing is known.
    given = info.get(f"{kind}.attention.head_count_kv", heads)
    row = positive(given) * per_head * _F16
    every, sliding = _EVERY.get(str(kind), 1), number("attention.sliding_window")
    if every == 1 or not sliding:
        return layers * row * window
    full = layers // every
    return row * (full * window + (layers - full) * min(window, sliding))
