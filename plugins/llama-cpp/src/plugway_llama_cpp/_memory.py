"""Memory estimates: what a model needs, what the machine has, and the context that fits.

Estimates come from the file's header, so that a model that does not fit is rejected before it is
loaded, instead of being killed by the kernel.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import psutil

from plugway_llama_cpp._gguf import Header
from plugway_local_models.memory import available_memory

MIB: Final = 1 << 20
DEFAULT_CONTEXT: Final = 65_536
_LEAST_CONTEXT: Final = 2_048
_KV_BYTES: Final = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
_RUNTIME: Final = 96 * MIB
"""Memory of a worker's interpreter, libraries and buffers without a model."""
_RESERVE: Final = 0.05
_MOST_CELLS: Final = 1 << 20
_ALL_SLIDING: Final = {"gemma3": 6}
"""Architectures in which only every n-th layer sees all tokens, the others a window. For other
architectures all layers count."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen sizes, and the memory that they need."""

    context: int
    """Maximum tokens of one conversation."""
    cells: int
    """Maximum tokens of all slots together."""
    weights: int
    cache: int
    compute: int
    available: int

    @property
    def total(self) -> int:
        """Needed bytes."""
        return self.weights + self.cache + self.compute + _RUNTIME

    @property
    def fits(self) -> bool:
        """Whether that much is free, with a small reserve."""
        return self.total <= self.available * (1 - _RESERVE)

    def arithmetic(self) -> str:
        """The calculation as text, for the error and for `plugway models show`."""
        return (
            f"weights {_mib(self.weights)} + cache for {self.cells:,} tokens {_mib(self.cache)} + "
            f"compute {_mib(self.compute)} + runtime {_mib(_RUNTIME)} = {_mib(self.total)}; "
            f"available {_mib(self.available)}"
        )


def plan(
    header: Header,
    *,
    context: int | None,
    batch: int,
    slots: int,
    kv_type: str,
    beside: int = 0,
    available: int | None = None,
) -> Plan:
    """Sizes for this model on this machine; `context` None: as large as fits, up to 65,536.

    `beside` is the size in bytes of files that are loaded with the model.
    """
    free = available_memory() if available is None else available
    weights = header.size + beside
    compute = _compute(header, batch)
    per_token, fixed = _cache(header, slots, batch, kv_type)
    budget = max(0, int(free * (1 - _RESERVE)) - weights - compute - _RUNTIME - fixed)
    room = budget // per_token if per_token else _MOST_CELLS
    trained = header.number("context_length", DEFAULT_CONTEXT)
    wanted = context or min(trained, DEFAULT_CONTEXT)
    if context is None:
        wanted = max(min(wanted, room), min(_LEAST_CONTEXT, trained))
    # Space for more than one long conversation, if it needs at most half of the free memory.
    cells = min(max(wanted, room // 2), wanted * min(slots, 4))
    cells = -(-cells // 256) * 256
    return Plan(wanted, cells, weights, cells * per_token + fixed, compute, free)


def resident_memory(pid: int | None) -> tuple[int, int]:
    """Bytes that a process holds, and those of them that are mapped from files; (0, 0) if there is
    no such process. Linux counts mapped files as available memory, other systems do not."""
    if pid is None:
        return 0, 0
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0, 0
    return int(memory.rss), int(getattr(memory, "shared", 0))


def default_threads() -> int:
    """Physical cores that this process may use: hyper-threads slow each other down."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    physical = psutil.cpu_count(logical=False) or 1
    return max(1, min(usable or 1, physical if physical > 1 else usable or 1))


def _cache(header: Header, slots: int, batch: int, kv_type: str) -> tuple[int, int]:
    """Bytes per token of the shared cache, and bytes that do not depend on the context size."""
    width = header.number("embedding_length")
    heads = max(1, header.number("attention.head_count", 1))
    kv_heads = header.number("attention.head_count_kv", heads)
    key = header.number("attention.key_length", width // heads)
    value = header.number("attention.value_length", width // heads)
    per_layer = kv_heads * (key + value) * _KV_BYTES[kv_type]
    layers = header.number("block_count", 1)
    window = header.number("attention.sliding_window")
    every = _ALL_SLIDING.get(header.architecture)
    if window and every:
        full = layers // every
        cells = window * slots + batch
        return int(full * per_layer), int((layers - full) * per_layer * cells)
    return int(layers * per_layer), 0


def _compute(header: Header, batch: int) -> int:
    """Activations of one micro-batch, estimated generously, and the rows of logits."""
    width = header.number("embedding_length")
    inner = header.number("feed_forward_length", 4 * width)
    vocabulary = int(header.values.get("array:tokenizer.ggml.tokens", 0))
    return 4 * batch * (8 * width + 3 * inner) + 4 * 16 * vocabulary + 32 * MIB


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
