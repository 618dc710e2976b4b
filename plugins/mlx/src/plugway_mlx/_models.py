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
from typing import Final

import anyio
import anyio.to_thread

from plugway import BackendUnavailable, PlugwayError, RequestRejected
from plugway_local_engine import Supervisor, WorkerSpec
from plugway_local_engine.demo import DEMO
from plugway_local_models import (
    MakesRoom,
    ModelFile,
    NoSuchModel,
    Reservations,
    UnusableModel,
    cache_folder,
    log_folder,
)
from plugway_mlx._folder import Facts, read_model
from plugway_mlx._installed import missing_engine
from plugway_mlx._names import find_in_folder, find_model, list_models
from plugway_mlx._options import MlxOptions
from plugway_mlx._plan import Plan, plan
from plugway_mlx._settings import EngineSettings

Note = Callable[[str], None]

_log = logging.getLogger("plugway.mlx")

ENTRY = "plugway_mlx._start:main"
_ENOUGH: Final = 1 << 62
"""Bytes for any model."""


@dataclass(slots=True)
class Loaded:
    """A model and its worker."""

    file: ModelFile
    facts: Facts
    plan: Plan
    supervisor: Supervisor
    changed: int
    """Time of its newest file when it was read."""

    @property
    def is_demo(self) -> bool:
        """Whether it is the model that ships with Plugway, also under another name."""
        return self.file.name == DEMO or self.facts.is_demo


class Models:
    """Loads models on demand, keeps them, and unloads them."""

    def __init__(self, name: str, options: MlxOptions) -> None:
        self._name = name
        self._options = options
        self._loaded: dict[str, Loaded] = {}
        self._lock = anyio.Lock()
        self._reservations = Reservations()
        self.room: MakesRoom | None = None
        """The plugin that makes room for models, if one is listed."""

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """Models with a worker, by name."""
        return self._loaded

    async def get(self, model: str, note: Note = _log.info) -> Loaded:
        """The model, with a worker that is starting or running. `note` gets what was done to make
        room for it.

        Raises:
            BackendUnavailable: MLX is not installed, or the model is missing, damaged or too large;
                permanent.
            RequestRejected: no model has that name.
        """
        file = await self._file(model)
        if known := await self._current(file):
            return known
        if missing := missing_engine():
            raise BackendUnavailable(missing, status=503, permanent=True)
        changed = await anyio.to_thread.run_sync(_changed, file.path)
        facts = await self._facts(file)
        async with self._lock:
            if known := await self._current(file):
                return known
            if former := self._loaded.pop(file.name, None):
                await former.supervisor.aclose()
            chosen = await self._fitting(file, facts)
            supervisor = Supervisor(self._worker(file, chosen))
            await self._start(supervisor, file, chosen, note)
            loaded = Loaded(file, facts, chosen, supervisor, changed)
            self._loaded[file.name] = loaded
            return loaded

    async def needs(self, model: str) -> int:
        """Bytes that the model needs, or uses by plan if it is loaded; raises as `get` does."""
        file = await self._file(model)
        if known := await self._current(file):
            return known.plan.total
        return (await self._planned(file, await self._facts(file))).total

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
        others = await anyio.to_thread.run_sync(list_models)
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
        if main is not None and wanted in (self._options.model, main.name):
            return main
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
        same = known.changed == await anyio.to_thread.run_sync(_changed, file.path)
        return known if same and self._loaded.get(file.name) is known else None

    async def _facts(self, file: ModelFile) -> Facts:
        try:
            return await anyio.to_thread.run_sync(read_model, file.path)
        except UnusableModel as error:
            raise BackendUnavailable(
                f"the model cannot be used: {error}", status=503, permanent=True
            ) from None

    async def _fitting(self, file: ModelFile, facts: Facts) -> Plan:
        chosen = await self._planned(file, facts)
        if self.room is not None:
            return chosen
        if not chosen.fits and await self._make_room():
            chosen = self._plan(facts)
        if not chosen.fits:
            raise BackendUnavailable(
                f"`{file.name}` does not fit into memory: {chosen.arithmetic()}. "
                "Lower `context` or `slots`, or use a model with fewer bits",
                status=503,
                permanent=True,
            )
        return chosen

    async def _start(
        self, supervisor: Supervisor, file: ModelFile, chosen: Plan, note: Note
    ) -> None:
        if self.room is None:
            supervisor.start()
            return
        reservation = self.room.loading(self._name, file.name, chosen.total, note)
        await self._reservations.start(reservation, supervisor.start, supervisor.settled)

    async def _planned(self, file: ModelFile, facts: Facts) -> Plan:
        """The plan for the free memory; if that is only enough for a shorter context, and another
        plugin makes room, for all that it could free."""
        if self.room is None:
            return self._plan(facts)
        report = await self.room.report()
        chosen = self._plan(facts, max(0, report.available - report.reserve))
        if chosen.fits and chosen.context == self._plan(facts, _ENOUGH).context:
            return chosen
        return self._plan(facts, await self.room.obtainable(self._name, file.name))

    def _plan(self, facts: Facts, available: int | None = None) -> Plan:
        """Sizes for the bytes that are available; by default those of the machine."""
        options = self._options
        return plan(
            facts,
            context=options.context,
            batch=options.batch,
            slots=options.slots,
            available=available,
        )

    async def _make_room(self) -> bool:
        """Unload idle models; False if there is none."""
        idle = [n for n, loaded in self._loaded.items() if not loaded.supervisor.busy]
        for name in idle:
            await self.unload(name)
        return bool(idle)

    def _worker(self, file: ModelFile, chosen: Plan) -> WorkerSpec:
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
        mark = hashlib.blake2b(str(file.path).encode(), digest_size=3).hexdigest()
        log = log_folder() / f"{self._name}-{file.path.name}-{mark}.log"
        return WorkerSpec(f"{self._name}/{file.name}", ENTRY, asdict(settings), log)


def _changed(path: Path) -> int:
    """Time of the newest file of a model."""
    newest = 0
    for file in (*path.glob("*.json"), *path.glob("*.safetensors"), *path.glob("*.jinja")):
        with contextlib.suppress(OSError):
            newest = max(newest, file.stat().st_mtime_ns)
    return newest
