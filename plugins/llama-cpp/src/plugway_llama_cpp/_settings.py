"""The gateway's decisions about a model for its worker, as plain values that can be serialized."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of a worker."""

    path: str
    context: int
    cells: int
    batch: int
    slots: int
    threads: int
    name: str = "model"
    instance: str = "llama-cpp"
    gpu_layers: int = -1
    flash_attention: str = "auto"
    kv_type: str = "f16"
    seed: int | None = None
    temperature: float | None = None
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    cache_mib: int = 512
    disk_cache_mib: int = 0
    disk_folder: str = ""
    template: str | None = None
    mmproj: str = ""
    guess_ahead: int = 0


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """All that the worker of an embedding model needs to know."""

    path: str
    context: int
    """Tokens of the longest text."""
    threads: int
    gpu_layers: int = -1
    pooled: bool = True
    """Whether the file defines how token vectors become one; otherwise their mean is used."""
