"""The gateway's decisions about a model for its worker, as plain values that can be serialized."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of a worker."""

    path: str
    """Folder of the model."""
    context: int
    """Maximum tokens of one conversation."""
    cells: int
    """Maximum tokens of all slots together."""
    batch: int
    slots: int
    seed: int | None = None
    temperature: float | None = None
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    cache_mib: int = 512
    disk_cache_mib: int = 0
    disk_folder: str = ""
    memory_share: float = 0.9
    template: str | None = None
