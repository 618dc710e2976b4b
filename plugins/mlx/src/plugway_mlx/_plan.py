"""Memory estimates: what a model needs, what the machine has, and the context that fits.

Estimates come from `config.json` and the sizes of the files, so that a model that does not fit is
rejected before it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from plugway_local_models.memory import available_memory
from plugway_mlx._folder import Facts

MIB: Final = 1 << 20
DEFAULT_CONTEXT: Final = 65_536
_LEAST_CONTEXT: Final = 2_048
_NUMBER: Final = 2
"""Bytes of a number in a cache: mlx-lm keeps the model's own format, 16 bits."""
_RUNTIME: Final = 192 * MIB
"""Memory of a worker's interpreter, libraries and buffers without a model."""
_RESERVE: Final = 0.05
_MOST_CELLS: Final = 1 << 20
_LONGEST_CONVERSATIONS: Final = 4
"""Most whole windows that all slots together may fill."""


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
    facts: Facts, *, context: int | None, batch: int, slots: int, available: int | None = None
) -> Plan:
    """Sizes for this model on this machine; `context` None: as large as fits, up to 65,536."""
    free = available_memory() if available is None else available
    compute = _compute(facts, batch)
    per_token, fixed = _cache(facts, slots, batch)
    budget = max(0, int(free * (1 - _RESERVE)) - facts.size - compute - _RUNTIME - fixed)
    room = budget // per_token if per_token else _MOST_CELLS
    trained = facts.trained_context or DEFAULT_CONTEXT
    wanted = context or min(trained, DEFAULT_CONTEXT)
    if context is None:
        wanted = max(min(wanted, room - 2 * batch), min(_LEAST_CONTEXT, trained))
    # The next piece of a prompt must always fit beside one whole conversation.
    least = wanted + 2 * batch
    cells = min(max(least, room // 2), least * min(slots, _LONGEST_CONVERSATIONS))
    return Plan(wanted, cells, facts.size, cells * per_token + fixed, compute, free)


def _cache(facts: Facts, slots: int, batch: int) -> tuple[int, int]:
    """Bytes per token of all conversations, and bytes that do not depend on their length."""
    heads = max(1, facts.number("num_attention_heads", 1))
    kv_heads = facts.number("num_key_value_heads", heads)
    size = facts.number("head_dim") or facts.number("hidden_size") // heads
    layer = 2 * kv_heads * size * _NUMBER
    layers = max(1, facts.number("num_hidden_layers", 1))
    window = facts.number("sliding_window")
    full = _full_layers(facts, layers) if window else layers
    return full * layer, (layers - full) * layer * (window + batch) * slots


def _full_layers(facts: Facts, layers: int) -> int:
    """Layers that see all tokens. A configuration that does not say it counts as all of them."""
    kinds: Any = facts.config.get("layer_types")
    if isinstance(kinds, list):
        named = cast("Sequence[object]", kinds)
        return sum(kind != "sliding_attention" for kind in named)
    every = facts.number("sliding_window_pattern")
    return layers // every if every > 1 else layers


def _compute(facts: Facts, batch: int) -> int:
    """Activations of one piece of a prompt, estimated generously, and the rows of logits."""
    width = facts.number("hidden_size")
    inner = facts.number("intermediate_size", 4 * width)
    return 4 * batch * (8 * width + 3 * inner) + 4 * 16 * facts.number("vocab_size") + 32 * MIB


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
