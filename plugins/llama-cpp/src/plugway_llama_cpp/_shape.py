"""The shape of a model from its header: which layers keep tokens, which slide, which are recurrent.

The rules are those of `load_arch_hparams` in llama.cpp's `src/models/*.cpp`. Where a header leaves
something open, the larger size is taken.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, cast

from plugway_llama_cpp._gguf import Header
from plugway_local_models.sizing import Attention, Recurrent, Shape

_MOST_LAYERS: Final = 4_096
"""A header with more is not that of a model."""
_PERIODS: Final = {"gemma3": (6, False), "gpt-oss": (2, False), "laguna": (4, True)}
"""Architectures whose header need not say which layers slide: one in so many sees all tokens, the
first of them or the last."""
_INTERVALS: Final = {"qwen35": 4, "qwen35moe": 4, "qwen3next": 4}
"""Architectures in which only every n-th layer is not recurrent."""
_RECURRENT: Final = frozenset(("mamba", "mamba2"))
_FLOAT: Final = 4


def shape_of(header: Header) -> Shape:
    """What the memory beside the weights depends on."""
    width = max(0, header.number("embedding_length"))
    layers = header.number("block_count", 1) - header.number("nextn_predict_layers")
    layers = max(0, min(layers, _MOST_LAYERS))
    recurrent = _recurrent_layers(header, layers)
    return Shape(
        attention=_attention(header, layers, width, recurrent),
        recurrent=_states(header, sum(recurrent)),
        width=width,
        inner=header.number("feed_forward_length", 4 * width),
        vocabulary=int(header.values.get("array:tokenizer.ggml.tokens", 0)),
        other_state=_convolutions(header, sum(recurrent), width),
    )


def _attention(
    header: Header, layers: int, width: int, recurrent: list[bool]
) -> tuple[Attention, ...]:
    heads = max(1, header.number("attention.head_count", 1))
    key = header.number("attention.key_length", width // heads)
    value = header.number("attention.value_length", width // heads)
    slides = (
        header.number("attention.key_length_swa", key),
        header.number("attention.value_length_swa", value),
        max(0, header.number("attention.sliding_window")),
    )
    sliding = _sliding_layers(header, layers)
    kept = _per_layer(header, "attention.head_count_kv", layers, heads)
    # The last layers may use what the layers before them keep.
    own = max(0, layers - max(0, header.number("attention.shared_kv_layers")))
    found: Counter[tuple[int, int, int, int]] = Counter()
    for layer in range(own):
        if kept[layer] > 0 and not recurrent[layer]:
            found[(kept[layer], *(slides if sliding[layer] else (key, value, 0)))] += 1
    return tuple(Attention(count, *form) for form, count in found.items())


def _sliding_layers(header: Header, layers: int) -> list[bool]:
    if header.number("attention.sliding_window") <= 0:
        return [False] * layers
    if named := _marked(header, "attention.sliding_window_pattern", layers):
        return named
    usual, first = _PERIODS.get(header.architecture, (0, False))
    period = header.number("attention.sliding_window_pattern", usual)
    if period <= 0:
        return [False] * layers
    full = 0 if first else period - 1
    return [layer % period != full for layer in range(layers)]


def _recurrent_layers(header: Header, layers: int) -> list[bool]:
    if header.architecture in _RECURRENT:
        return [True] * layers
    if named := _marked(header, "attention.recurrent_layers", layers):
        return named
    usual = _INTERVALS.get(header.architecture, 0)
    if (interval := header.number("full_attention_interval", usual)) > 0:
        return [(layer + 1) % interval != 0 for layer in range(layers)]
    if not (header.number("ssm.inner_size") or header.number("shortconv.l_cache")):
        return [False] * layers
    # Layers without keys and values are recurrent, unless they are feed-forward layers only.
    kept = _per_layer(header, "attention.head_count_kv", layers, 1)
    differs = _items(header, "feed_forward_length") is not None
    inner = _per_layer(header, "feed_forward_length", layers, 0) if differs else [0] * layers
    return [kept[layer] == 0 and inner[layer] == 0 for layer in range(layers)]


def _states(header: Header, layers: int) -> tuple[Recurrent, ...]:
    inner = header.number("ssm.inner_size")
    if not inner:
        return ()
    # Without a layer that is recurrent only, all are both (as in Falcon-H1).
    layers = layers or max(0, min(header.number("block_count"), _MOST_LAYERS))
    state, groups = header.number("ssm.state_size"), header.number("ssm.group_count")
    kernel = max(1, header.number("ssm.conv_kernel", 1))
    return (Recurrent(layers, state, inner, groups, kernel),)


def _convolutions(header: Header, layers: int, width: int) -> int:
    """Bytes of short convolutions (LFM2: `n_embd_r` in llama.cpp's `llama-hparams.cpp`)."""
    return layers * _FLOAT * width * max(0, header.number("shortconv.l_cache") - 1)


def _per_layer(header: Header, key: str, layers: int, default: int) -> list[int]:
    """A number for each layer; those beyond the kept part of a long list count as the largest."""
    items = _items(header, key)
    if items is None:
        return [header.number(key, default)] * layers
    numbers = [item if type(item) is int else default for item in items]
    return (numbers + [max(numbers, default=default)] * layers)[:layers]


def _marked(header: Header, key: str, layers: int) -> list[bool]:
    """Whether each layer is marked in a list; empty if the header has none."""
    items = _items(header, key)
    return ([bool(item) for item in items] + [False] * layers)[:layers] if items else []


def _items(header: Header, key: str) -> list[Any] | None:
    value = header.values.get(f"{header.architecture}.{key}")
    return cast("list[Any]", value) if isinstance(value, list) else None
