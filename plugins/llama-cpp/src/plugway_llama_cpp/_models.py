"""GGUF models of one backend instance: their files, what they need, and how their workers start."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from plugway import BackendUnavailable, RequestRejected
from plugway_llama_cpp._files import is_something_else, parts_of, read_model
from plugway_llama_cpp._folder import (
    DEMO_TITLE,
    find_in_folder,
    find_model,
    list_models,
)
from plugway_llama_cpp._gguf import Header, HostileFile, read_header
from plugway_llama_cpp._memory import Plan, default_threads, plan
from plugway_llama_cpp._options import LlamaCppOptions
from plugway_llama_cpp._settings import EmbedderSettings, EngineSettings
from plugway_local_engine import EngineLoader, Limits, WorkerSpec
from plugway_local_models import ModelFile, NoSuchModel, cache_folder

ENTRY = "plugway_llama_cpp._start:main"
EMBEDDER = "plugway_llama_cpp._embedder:main"
_LONGEST_TEXT: Final = 8_192
"""Tokens of a text to embed, where `context` is not set: an encoder reads it in one batch."""
_PATIENT: Final = Limits(silence=300.0, cancel=300.0)
"""An embedding model reads a whole text at once, and cannot be interrupted within it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model before it is loaded."""

    header: Header
    mmproj: Path | None
    """The image projector, if it is the configured model."""

    @property
    def is_demo(self) -> bool:
        """Whether it is the model that ships with Plugway."""
        return self.header.text("general.name") == DEMO_TITLE


class Models(EngineLoader[Facts, Plan]):
    """Loads GGUF models on demand."""

    def __init__(self, name: str, options: LlamaCppOptions) -> None:
        super().__init__(name, options.model, logging.getLogger("plugway.llama-cpp"))
        self._options = options
        self._misfits: dict[str, str] = {}

    def misfit(self, name: str) -> str:
        """Why the model did not fit when it was last to be loaded; empty if it did."""
        return self._misfits.get(name, "")

    def find(self, name: str) -> ModelFile:
        """The demo, a path, or a model in the folder. Raises `NoSuchModel`."""
        return find_model(name)

    def find_in_folder(self, name: str) -> ModelFile:
        """The model of that name in the folder. Raises `NoSuchModel`, and `RequestRejected` for a
        path."""
        if "/" in name and Path(name).is_absolute():
            raise RequestRejected(f"model: {name}", status=404, retry=False, record=True)
        return find_in_folder(name)

    def in_folder(self) -> Sequence[ModelFile]:
        """The models in the folder, without what is another kind of file."""
        return [model for model in list_models() if not is_something_else(model.path)]

    def names_of(self, file: ModelFile) -> tuple[str, ...]:
        """Also the file's name."""
        return (*super().names_of(file), file.path.name)

    def log_name(self, file: ModelFile) -> str:
        """The file's name without its end."""
        return file.path.stem

    def state_of(self, path: Path) -> object:
        """Sizes and modification times of all files of the model."""
        return _state(*parts_of(path))

    def read(self, file: ModelFile) -> Facts:
        """Read the header, and check the projector. Raises as `EngineLoader.read` does."""
        return Facts(read_model(file.path), self._projector(file))

    def planned(self, file: ModelFile, chosen: Plan) -> None:
        """Remember whether it fits."""
        self._misfits.pop(file.name, None)
        if not chosen.fits:
            self._misfits[file.name] = f"{file.name} does not fit into memory: {chosen.sentence()}"

    def plan(self, facts: Facts, available: int | None) -> Plan:
        """Sizes for the bytes that are available; by default those of the machine."""
        options, header = self._options, facts.header
        if header.embeds:
            trained = header.number("context_length", _LONGEST_TEXT)
            longest = min(options.context or _LONGEST_TEXT, trained)
            return plan(
                header, context=longest, batch=longest, slots=1, kv_type="f16", available=available
            )
        return plan(
            header,
            context=options.context,
            batch=options.batch,
            slots=options.slots,
            kv_type=options.kv_type,
            beside=2 * _state(facts.mmproj)[0] if facts.mmproj else 0,
            available=available,
        )

    def worker(self, file: ModelFile, facts: Facts, chosen: Plan, log: Path) -> WorkerSpec:
        """A worker that generates text, or one that embeds it."""
        name = f"{self._name}/{file.name}"
        if facts.header.embeds:
            settings = asdict(self._embedder(file, facts, chosen))
            return WorkerSpec(name, EMBEDDER, settings, log, _PATIENT)
        return WorkerSpec(name, ENTRY, asdict(self._engine(file, facts, chosen)), log)

    def _projector(self, file: ModelFile) -> Path | None:
        """The checked file of `mmproj`, if `file` is the configured model."""
        wanted = self._options.mmproj
        if wanted is None:
            return None
        try:
            main = find_model(self._options.model)
        except NoSuchModel:
            return None
        if file.path != main.path:
            return None
        try:
            found = find_model(wanted)
            header = read_header(found.path)
        except (NoSuchModel, HostileFile, OSError) as error:
            raise BackendUnavailable(
                f"`mmproj` cannot be used: {error}", status=503, permanent=True
            ) from None
        if header.architecture != "clip":
            raise BackendUnavailable(
                f"`mmproj`: {found.path} is a {header.architecture} model, not an image projector. "
                "Set it to the `mmproj-….gguf` that belongs to the model",
                status=503,
                permanent=True,
            )
        return found.path

    def _embedder(self, file: ModelFile, facts: Facts, chosen: Plan) -> EmbedderSettings:
        options = self._options
        return EmbedderSettings(
            str(file.path),
            chosen.context,
            options.threads or default_threads(),
            options.gpu_layers,
            facts.header.pooling > 0,
        )

    def _engine(self, file: ModelFile, facts: Facts, chosen: Plan) -> EngineSettings:
        options = self._options
        return EngineSettings(
            path=str(file.path),
            name=file.name,
            instance=self._name,
            context=chosen.context,
            cells=chosen.cells,
            batch=options.batch,
            slots=options.slots,
            threads=options.threads or default_threads(),
            gpu_layers=options.gpu_layers,
            flash_attention=options.flash_attention,
            kv_type=options.kv_type,
            seed=options.seed,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            cache_mib=options.cache_mib,
            disk_cache_mib=options.disk_cache_mib,
            disk_folder=str(cache_folder()),
            template=options.template,
            mmproj=str(facts.mmproj or ""),
            guess_ahead=options.guess_ahead,
        )


def _state(*paths: Path) -> tuple[int, int]:
    """Bytes of all files together, and the time of the newest."""
    size = changed = 0
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            size, changed = size + status.st_size, max(changed, status.st_mtime_ns)
    return size, changed
