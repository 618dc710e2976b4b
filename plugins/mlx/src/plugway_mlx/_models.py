"""MLX models of one backend instance: their files, what they need, and how their workers start."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from plugway import BackendUnavailable
from plugway_local_engine import EngineLoader, WorkerSpec
from plugway_local_models import ModelFile, cache_folder
from plugway_mlx._folder import Facts, read_model
from plugway_mlx._installed import missing_engine
from plugway_mlx._names import find_in_folder, find_model, list_models
from plugway_mlx._options import MlxOptions
from plugway_mlx._plan import Plan, plan
from plugway_mlx._settings import EngineSettings

ENTRY = "plugway_mlx._start:main"


class Models(EngineLoader[Facts, Plan]):
    """Loads MLX models on demand."""

    smaller = "use a model with fewer bits"

    def __init__(self, name: str, options: MlxOptions) -> None:
        super().__init__(name, options.model, logging.getLogger("plugway.mlx"))
        self._options = options

    def check(self) -> None:
        """Raise `BackendUnavailable` if MLX is not installed."""
        if missing := missing_engine():
            raise BackendUnavailable(missing, status=503, permanent=True)

    def find(self, name: str) -> ModelFile:
        """The demo, a path, or a model in the folder. Raises `NoSuchModel`."""
        return find_model(name)

    def find_in_folder(self, name: str) -> ModelFile:
        """The model of that name in the folder. Raises `NoSuchModel`."""
        return find_in_folder(name)

    def in_folder(self) -> Sequence[ModelFile]:
        """The models in the folder."""
        return list_models()

    def state_of(self, path: Path) -> object:
        """Time of the newest file of the model."""
        newest = 0
        for file in (*path.glob("*.json"), *path.glob("*.safetensors"), *path.glob("*.jinja")):
            with contextlib.suppress(OSError):
                newest = max(newest, file.stat().st_mtime_ns)
        return newest

    def read(self, file: ModelFile) -> Facts:
        """Read the configuration. Raises `UnusableModel`."""
        return read_model(file.path)

    def plan(self, facts: Facts, available: int | None) -> Plan:
        """Sizes for the bytes that are available; by default those of the machine."""
        options = self._options
        return plan(
            facts,
            context=options.context,
            batch=options.batch,
            slots=options.slots,
            available=available,
        )

    def worker(self, file: ModelFile, facts: Facts, chosen: Plan, log: Path) -> WorkerSpec:
        """A worker that generates text."""
        options = self._options
        settings = EngineSettings(
            path=str(file.path.resolve()),
            context=chosen.context,
            cells=chosen.cells,
            batch=options.batch,
            slots=options.slots,
            seed=options.seed,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            cache_mib=options.cache_mib,
            disk_cache_mib=options.disk_cache_mib,
            disk_folder=str(cache_folder()),
            memory_share=options.memory_share,
            template=options.template,
        )
        return WorkerSpec(f"{self._name}/{file.name}", ENTRY, asdict(settings), log)
