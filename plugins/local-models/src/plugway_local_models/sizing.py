"""How much memory a model needs: the one formula for loading, for advice and for warnings.

It knows shapes and sizes only. Engines make a `Shape` from a file's header, `_catalog` from the
data file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30
KV_BYTES: Final = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of a number in the cache, by the number format of llama.cpp."""
RUNTIME: Final = 96 * MIB
"""Memory of a worker's interpreter, libraries and buffers without a model."""
RESERVE: Final = 0.05
"""Share of the free memory that is left free."""
CLAUDE_CODE_FLOOR: Final = 32_000
"""With a smaller window Claude Code has no room to work: its system prompt and tools take about
20,000 tokens (measured with 2.1.329: `docs/configuration.md`)."""
_STATE_BYTES: Final = 4
"""Recurrent states are 32-bit numbers (`type_r` and `type_s` in llama.cpp's `llama-model.cpp`)."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Layers that keep the keys and values of tokens, all of the same form."""

    layers: int
    heads: int
    """Heads of keys and values, which are fewer than those of queries."""
    key: int
    """Numbers in the key of a head."""
    value: int
    window: int = 0
    """Tokens that the layers see; 0 for all."""

    @property
    def numbers(self) -> int:
        """Numbers kept for a token, in all these layers."""
        return self.layers * self.heads * (self.key + self.value)


@dataclass(frozen=True, slots=True)
class Recurrent:
    """Linear-attention or Mamba layers, whose memory does not grow with the conversation."""

    layers: int
    state: int
    inner: int
    groups: int = 0
    kernel: int = 1

    @property
    def bytes(self) -> int:
        """Bytes for one conversation: `n_embd_r` and `n_embd_s` in llama.cpp's
        `llama-hparams.cpp`."""
        convolution = (self.kernel - 1) * (self.inner + 2 * self.groups * self.state)
        return self.layers * _STATE_BYTES * (convolution + self.state * self.inner)


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how much memory a model needs beside its weights."""

    attention: tuple[Attention, ...]
    recurrent: tuple[Recurrent, ...] = ()
    width: int = 0
    """Numbers in the embedding of a token."""
    inner: int = 0
    """Width of the feed-forward layers."""
    vocabulary: int = 0
    other_state: int = 0
    """Further bytes for one conversation."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a model is loaded; the defaults are those of the plugin `llama-cpp`."""

    slots: int = 8
    """Conversations that stay loaded."""
    batch: int = 512
    kv_type: str = "f16"


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a model needs."""

    tokens: int
    """Tokens that the cache has room for."""
    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        """All together, with the engine's process."""
        return self.weights + self.cache + self.compute + RUNTIME

    def fits(self, free: int) -> bool:
        """Whether that much is free, with a small reserve."""
        return self.total <= free * (1 - RESERVE)

    def sentence(self, free: int) -> str:
        """The sum, such as `32K needs 5.2 GiB beside 15.8 GiB of weights; 18.4 are free`."""
        beside = gib(self.total - self.weights)
        return (
            f"{short_count(self.tokens)} needs {beside} GiB beside {gib(self.weights)} GiB of "
            f"weights; {gib(free)} are free"
        )


def need(shape: Shape, weights: int, tokens: int, use: Use | None = None) -> Need:
    """What a model needs whose files have `weights` bytes, with a cache for `tokens`."""
    use = use or Use()
    per_token, fixed = cache_sizes(shape, use)
    compute = compute_size(shape, use.batch)
    return Need(tokens, weights, tokens * per_token + fixed, compute)


def cache_sizes(shape: Shape, use: Use) -> tuple[int, int]:
    """Bytes of the cache per token, and bytes that do not depend on the number of tokens."""
    number = KV_BYTES[use.kv_type]
    per_token = sum(group.numbers for group in shape.attention if not group.window) * number
    # As in llama.cpp's `llama-kv-cache-iswa.cpp` with a cache that all conversations share.
    fixed = sum(
        group.numbers * number * (group.window * use.slots + use.batch)
        for group in shape.attention
        if group.window
    )
    state = shape.other_state + sum(group.bytes for group in shape.recurrent)
    return int(per_token), int(fixed) + state * use.slots


def compute_size(shape: Shape, batch: int) -> int:
    """Activations of one micro-batch, estimated generously, and the rows of logits."""
    activations = 4 * batch * (8 * shape.width + 3 * shape.inner)
    return activations + 4 * 16 * shape.vocabulary + 32 * MIB


def too_small_for_claude_code(name: str, window: int) -> str:
    """What to tell the user of a model whose window of so many tokens is too small for Claude
    Code; empty if it is not, or if the size is unknown (0)."""
    if not window or window >= CLAUDE_CODE_FLOOR:
        return ""
    return (
        f"{name} has a window of {window:,} tokens, and Claude Code needs {CLAUDE_CODE_FLOOR:,}: "
        "its first request takes about 20,000. `plugway models recommend` shows what fits"
    )


def gib(size: int) -> str:
    """Bytes in GiB with one decimal place, without the unit."""
    return f"{size / GIB:,.1f}"


def short_count(tokens: int) -> str:
    """A number of tokens, in units of 1,024 if it is a multiple."""
    return f"{tokens // 1024}K" if tokens and tokens % 1024 == 0 else f"{tokens:,} tokens"
