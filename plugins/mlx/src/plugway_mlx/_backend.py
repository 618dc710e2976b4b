"""The backend. The worker renders, counts and decodes; `_models` knows the worker of each model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway_local_engine import EngineBackend, Loaded
from plugway_mlx._folder import Facts
from plugway_mlx._models import Models
from plugway_mlx._options import MlxOptions
from plugway_mlx._plan import Plan


class MlxBackend(EngineBackend[Facts, Plan]):
    """One instance: a configured model, and others of the models folder on demand."""

    def __init__(self, name: str, options: MlxOptions) -> None:
        super().__init__(name, Models(name, options))

    def described(self, loaded: Loaded[Facts, Plan]) -> Mapping[str, Any]:
        """From the model's configuration."""
        return {
            "display_name": loaded.file.name,
            "capabilities": frozenset({"tools", "structured_output"}),
            "extra": {"architecture": loaded.facts.architecture, "bytes": loaded.facts.size},
        }
