"""The models of one backend instance: which are loaded, what each needs, which is unloaded first.

One supervised worker per loaded model. See `_backend` for requests.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import anyio

from plugway import BackendUnavailable, PlugwayError, RequestRejected
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
from plugway_local_engine import Limits, Supervisor, WorkerSpec
from plugway_local_engine.demo import DEMO
from plugway_local_models import (
    MakesRoom,
    ModelFile,
    NoSuchModel,
    Reservations,
    cache_folder,
    log_folder,
)

Note = Callable[[str], None]

_log = logging.getLogger("plugway.llama-cpp")

ENTRY = "plugway_llama_cpp._start:main"
EMBEDDER = "plugway_llama_cpp._embedder:main"
_LONGEST_TEXT: Final = 8_192
"""Tokens of a text to embed, where `context` is not set: an encoder reads it in one batch."""
_ENOUGH: Final = 1 << 62
"""Bytes for any model."""
_PATIENT: Final = Limits(silence=300.0, cancel=300.0)
"""An embedding model reads a whole text at once, and cannot be interrupted within it."""


@dataclass(slots=True)
class Loaded:
    """A model and its worker."""

    file: ModelFile
    header: Header
    plan: Plan
    supervisor: Supervisor
    mmproj: Path | None
    """The image projector, if it is the configured model."""
    changed: tuple[int, int]
    """Sizes and modification times of its files when they were read."""

    @property
    def is_demo(self) -> bool:
        """Whether it is the model that ships with Plugway, also under another name."""
        return self.file.name == DEMO or self.header.text("general.name") == DEMO_TITLE


class Models:
    """Loads models on demand, keeps them, and unloads them."""

    def __init__(self, name: str, options: LlamaCppOptions) -> None:
        self._name = name
        self._options = options
        self._loaded: dict[str, Loaded] = {}
        self._misfits: dict[str, str] = {}
        self._lock = anyio.Lock()
        self._reservations = Reservations()
        self.room: MakesRoom | None = None
        """The plugin that makes room for models, if one is listed."""

    def misfit(self, name: str) -> str:
        """Why the model did not fit when it was last to be loaded; empty if it did."""
        return self._misfits.get(name, "")

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """Models with a worker, by name."""
        return self._loaded

    async def get(self, model: str, note: Note = _log.info) -> Loaded:
        """The model, with a worker that is starting or running. `note` gets what was done to make
        room for it.

        Raises:
            BackendUnavailable: the file is missing, damaged or too large; permanent.
            RequestRejected: no model has that name.
        """
        # Files are read outside of the lock: a slow disk delays only those who want that model.
        file = await self._file(model)
        if known := await self._current(file):
            return known
        changed = await anyio.to_thread.run_sync(_state_of, file.path)
        header, projector = await self._header(file), await self._projector(file)
        async with self._lock:
            if known := await self._current(file):
                return known
            if former := self._loaded.pop(file.name, None):
                await former.supervisor.aclose()
            supervisor, chosen = await self._start(file, header, projector, note)
            loaded = Loaded(file, header, chosen, supervisor, projector, changed)
            self._loaded[file.name] = loaded
            return loaded

    async def needs(self, model: str) -> int:
        """Bytes that the model needs, or uses by plan if it is loaded; raises as `get` does."""
        file = await self._file(model)
        if known := await self._current(file):
            return known.plan.total
        header, projector = await self._header(file), await self._projector(file)
        return (await self._planned(file, header, projector)).total

    async def name_of(self, model: str) -> str:
        """The name in `loaded` of a model in a request; the same if there is no such model."""
        try:
            return (await self._file(model)).name
        except PlugwayError:
            return model

    async def names(self) -> list[ModelFile]:
        """The models that can be requested, the configured one first."""
        found: list[ModelFile] = []
        with contextlib.suppress(NoSuchModel):
            found.append(await anyio.to_thread.run_sync(find_model, self._options.model))
        others = await anyio.to_thread.run_sync(_models_in_folder)
        return found + [m for m in others if all(m.path != f.path for f in found)]

    async def unload(self, name: str) -> bool:
        """Stop a worker; False if there is none."""
        loaded = self._loaded.pop(name, None)
        if loaded is None:
            return False
        await loaded.supervisor.aclose()
        return True

    async def unload_idle(self) -> None:
        """Stop workers that were unused for longer than `idle_unload_seconds`."""
        limit = self._options.idle_unload_seconds
        for name, loaded in list(self._loaded.items()):
            supervisor = loaded.supervisor
            idle = time.monotonic() - supervisor.last_used
            if limit and not supervisor.busy and supervisor.state == "ready" and idle > limit:
                await self.unload(name)

    async def aclose(self) -> None:
        """Stop all workers."""
        for name in list(self._loaded):
            await self.unload(name)
        await self._reservations.aclose()

    async def _file(self, model: str) -> ModelFile:
        wanted = self._options.model if model in ("", "default") else model
        try:
            main = await anyio.to_thread.run_sync(find_model, self._options.model)
        except NoSuchModel as error:
            if wanted == self._options.model:
                raise BackendUnavailable(str(error), status=503, permanent=True) from None
            main = None
        if main is not None and wanted in (self._options.model, main.name, main.path.name):
            return main
        if "/" in wanted and Path(wanted).is_absolute():
            raise RequestRejected(f"model: {wanted}", status=404, retry=False, record=True)
        try:
            return await anyio.to_thread.run_sync(find_in_folder, wanted)
        except NoSuchModel as error:
            message = f"model: {error}"
            raise RequestRejected(message, status=404, retry=False, record=True) from None

    async def _current(self, file: ModelFile) -> Loaded | None:
        """The loaded model, if its files are still the same."""
        known = self._loaded.get(file.name)
        if known is None or known.file.path != file.path:
            return None
        same = known.changed == await anyio.to_thread.run_sync(_state_of, file.path)
        return known if same and self._loaded.get(file.name) is known else None

    async def _header(self, file: ModelFile) -> Header:
        try:
            return await anyio.to_thread.run_sync(read_model, file.path)
        except HostileFile as error:
            raise BackendUnavailable(
                f"the model cannot be used: {error}", status=503, permanent=True
            ) from None

    async def _start(
        self, file: ModelFile, header: Header, projector: Path | None, note: Note
    ) -> tuple[Supervisor, Plan]:
        chosen = await self._planned(file, header, projector)
        if self.room is None and not chosen.fits and await self._make_room():
            chosen = self._plan(header, projector)
        self._misfits.pop(file.name, None)
        if not chosen.fits:
            said = f"{file.name} does not fit into memory: {chosen.sentence()}"
            self._misfits[file.name] = said
            if self.room is None:
                raise BackendUnavailable(
                    f"`{file.name}` does not fit into memory: {chosen.arithmetic()}. "
                    "Lower `context` or `slots`, or use a smaller quantization",
                    status=503,
                    permanent=True,
                )
        if header.embeds:
            supervisor = Supervisor(self._embedder(file, header, chosen))
        else:
            supervisor = Supervisor(self._engine(file, chosen, projector))
        if self.room is None:
            supervisor.start()
        else:
            reservation = self.room.loading(self._name, file.name, chosen.total, note)
            await self._reservations.start(reservation, supervisor.start, supervisor.settled)
        return supervisor, chosen

    async def _planned(self, file: ModelFile, header: Header, projector: Path | None) -> Plan:
        """The plan for the free memory; if that is only enough for a shorter context, and another
        plugin makes room, for all that it could free."""
        if self.room is None:
            return self._plan(header, projector)
        report = await self.room.report()
        chosen = self._plan(header, projector, max(0, report.available - report.reserve))
        if chosen.fits and chosen.context == self._plan(header, projector, _ENOUGH).context:
            return chosen
        most = await self.room.obtainable(self._name, file.name)
        return self._plan(header, projector, most)

    async def _projector(self, file: ModelFile) -> Path | None:
        """The checked file of `mmproj`, if `file` is the configured model."""
        wanted = self._options.mmproj
        if wanted is None:
            return None
        try:
            main = await anyio.to_thread.run_sync(find_model, self._options.model)
        except NoSuchModel:
            return None
        if file.path != main.path:
            return None
        try:
            found = await anyio.to_thread.run_sync(find_model, wanted)
            header = await anyio.to_thread.run_sync(read_header, found.path)
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

    def _plan(self, header: Header, projector: Path | None, available: int | None = None) -> Plan:
        """Sizes for the bytes that are available; by default those of the machine."""
        options = self._options
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
            beside=2 * _state(projector)[0] if projector else 0,
            available=available,
        )

    async def _make_room(self) -> bool:
        """Unload an idle model; False if there is none."""
        idle = [n for n, loaded in self._loaded.items() if not loaded.supervisor.busy]
        for name in idle:
            await self.unload(name)
        return bool(idle)

    def _embedder(self, file: ModelFile, header: Header, chosen: Plan) -> WorkerSpec:
        options = self._options
        settings = EmbedderSettings(
            str(file.path),
            chosen.context,
            options.threads or default_threads(),
            options.gpu_layers,
            header.pooling > 0,
        )
        name, log = f"{self._name}/{file.name}", self._log(file)
        return WorkerSpec(name, EMBEDDER, asdict(settings), log, _PATIENT)

    def _engine(self, file: ModelFile, chosen: Plan, projector: Path | None) -> WorkerSpec:
        options = self._options
        settings = EngineSettings(
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
            mmproj=str(projector or ""),
            guess_ahead=options.guess_ahead,
        )
        config: dict[str, Any] = asdict(settings)
        return WorkerSpec(f"{self._name}/{file.name}", ENTRY, config, self._log(file))

    def _log(self, file: ModelFile) -> Path:
        mark = hashlib.blake2b(str(file.path).encode(), digest_size=3).hexdigest()
        return log_folder() / f"{self._name}-{file.path.stem}-{mark}.log"


def _models_in_folder() -> list[ModelFile]:
    return [model for model in list_models() if not is_something_else(model.path)]


def _state_of(path: Path) -> tuple[int, int]:
    """The state of all files of a model."""
    return _state(*parts_of(path))


def _state(*paths: Path) -> tuple[int, int]:
    """Bytes of all files together, and the time of the newest."""
    size = changed = 0
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            size, changed = size + status.st_size, max(changed, status.st_mtime_ns)
    return size, changed
