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
from plugway_llama_cpp._shape import shape_of
from plugway_local_models.memory import available_memory
from plugway_local_models.sizing import (
    MIB,
    RESERVE,
    RUNTIME,
    Need,
    Use,
    cache_sizes,
    compute_size,
)

DEFAULT_CONTEXT: Final = 65_536
_LEAST_CONTEXT: Final = 2_048
_MOST_CELLS: Final = 1 << 20


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
        return self._need.total

    @property
    def fits(self) -> bool:
        """Whether that much is free, with a small reserve."""
        return self._need.fits(self.available)

    def arithmetic(self) -> str:
        """The calculation as text, for the error and for `plugway models show`."""
        return (
            f"weights {_mib(self.weights)} + cache for {self.cells:,} tokens {_mib(self.cache)} + "
            f"compute {_mib(self.compute)} + runtime {_mib(RUNTIME)} = {_mib(self.total)}; "
            f"available {_mib(self.available)}"
        )

    def sentence(self) -> str:
        """The same in short, for a user who chooses a model."""
        return self._need.sentence(self.available)

    @property
    def _need(self) -> Need:
        return Need(self.cells, self.weights, self.cache, self.compute)


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
    shape = shape_of(header)
    compute = compute_size(shape, batch)
    per_token, fixed = cache_sizes(shape, Use(slots, batch, kv_type))
    budget = max(0, int(free * (1 - RESERVE)) - weights - compute - RUNTIME - fixed)
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


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
