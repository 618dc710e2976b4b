"""The models of one backend instance: which are loaded, what each needs, which is unloaded first.

One supervised worker per loaded model. See `_backend` for requests.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import anyio
import anyio.to_thread

from plugway import BackendUnavailable, Gateway, PlugwayError, RequestRejected
from plugway_local_engine._supervisor import Supervisor, WorkerSpec
from plugway_local_engine.demo import DEMO
from plugway_local_models import (
    MakesRoom,
    ModelFile,
    NoSuchModel,
    Reservations,
    UnusableModel,
    control_socket,
    log_folder,
)

Note = Callable[[str], None]

_ENOUGH: Final = 1 << 62
"""Bytes for any model."""


class ModelFacts(Protocol):
    """What is known of a model before it is loaded."""

    @property
    def is_demo(self) -> bool:
        """Whether its files are those of the model that ships with Plugway."""
        ...


class MemoryPlan(Protocol):
    """The chosen sizes of a model, and the memory that they need."""

    @property
    def context(self) -> int:
        """Maximum tokens of one conversation."""
        ...

    @property
    def total(self) -> int:
        """Needed bytes."""
        ...

    @property
    def fits(self) -> bool:
        """Whether that much is free, with a small reserve."""
        ...

    def arithmetic(self) -> str:
        """The calculation as text."""
        ...


FactsT = TypeVar("FactsT", bound=ModelFacts)
PlanT = TypeVar("PlanT", bound=MemoryPlan)


@dataclass(slots=True)
class Loaded(Generic[FactsT, PlanT]):
    """A model and its worker."""

    file: ModelFile
    facts: FactsT
    plan: PlanT
    supervisor: Supervisor
    state: object
    """The state of its files when they were read (`EngineLoader.state_of`)."""

    @property
    def is_demo(self) -> bool:
        """Whether it is the model that ships with Plugway, also under another name."""
        return self.file.name == DEMO or self.facts.is_demo


class EngineLoader(ABC, Generic[FactsT, PlanT]):
    """Loads models on demand, keeps them, and unloads them; a subclass knows one kind of files.

    Methods without `async` that take or return files are called in a thread.
    """

    smaller = "use a smaller quantization"
    """What else makes a model fit, for the error."""

    def __init__(self, name: str, model: str, log: logging.Logger) -> None:
        """`name` is the instance's, `model` the configured model; `log` gets what is done."""
        self._name = name
        self._model = model
        self._log = log
        self._loaded: dict[str, Loaded[FactsT, PlanT]] = {}
        self._lock = anyio.Lock()
        self._reservations = Reservations()
        self.room: MakesRoom | None = None
        """The plugin that makes room for models, if one is listed."""

    # ── what a subclass knows ────────────────────────────────────────────────────────────────

    @abstractmethod
    def find(self, name: str) -> ModelFile:
        """The model of that name or path, for names in the configuration. Raises `NoSuchModel`."""

    @abstractmethod
    def find_in_folder(self, name: str) -> ModelFile:
        """The model of that name in the models folder, for names from clients.

        Raises `NoSuchModel`, or `RequestRejected` for what may not be requested.
        """

    @abstractmethod
    def in_folder(self) -> Sequence[ModelFile]:
        """The models in the models folder."""

    @abstractmethod
    def state_of(self, path: Path) -> object:
        """A value that changes when a file of the model does."""

    @abstractmethod
    def read(self, file: ModelFile) -> FactsT:
        """Read what is known of a model. Raises `UnusableModel` or `BackendUnavailable`."""

    @abstractmethod
    def plan(self, facts: FactsT, available: int | None) -> PlanT:
        """Sizes for the bytes that are available; None for those of the machine."""

    @abstractmethod
    def worker(self, file: ModelFile, facts: FactsT, chosen: PlanT, log: Path) -> WorkerSpec:
        """How the worker of a model is started."""

    def check(self) -> None:
        """Raise `BackendUnavailable` if no model can be loaded."""

    def planned(self, file: ModelFile, chosen: PlanT) -> None:
        """Called with the plan of a model that is about to be loaded, whether it fits or not."""

    def names_of(self, file: ModelFile) -> tuple[str, ...]:
        """Names under which clients may request the configured model."""
        return (self._model, file.name)

    # ── loading ──────────────────────────────────────────────────────────────────────────────

    @property
    def loaded(self) -> Mapping[str, Loaded[FactsT, PlanT]]:
        """Models with a worker, by name."""
        return self._loaded

    async def get(self, model: str, note: Note | None = None) -> Loaded[FactsT, PlanT]:
        """The model, with a worker that is starting or running. `note` gets what was done to make
        room for it, by default the log.

        Raises:
            BackendUnavailable: the engine or the model is missing, or the model is damaged or too
                large; permanent.
            RequestRejected: no model has that name.
        """
        # Files are read outside of the lock: a slow disk delays only those who want that model.
        file = await self._file(model)
        if known := await self._current(file):
            return known
        self.check()
        state = await anyio.to_thread.run_sync(self.state_of, file.path)
        facts = await self._facts(file)
        async with self._lock:
            if known := await self._current(file):
                return known
            if former := self._loaded.pop(file.name, None):
                await former.supervisor.aclose()
            plan = await self._fitting(file, facts)
            supervisor = Supervisor(self.worker(file, facts, plan, self._log_of(file)))
            await self._start(supervisor, file, plan, note or self._log.info)
            loaded = Loaded(file, facts, plan, supervisor, state)
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

    async def names(self) -> Sequence[ModelFile]:
        """The models that can be requested, the configured one first."""
        found: list[ModelFile] = []
        with contextlib.suppress(NoSuchModel):
            found.append(await anyio.to_thread.run_sync(self.find, self._model))
        others = await anyio.to_thread.run_sync(self.in_folder)
        return found + [m for m in others if all(m.path != f.path for f in found)]

    async def unload(self, name: str) -> bool:
        """Stop a worker; False if there is none."""
        loaded = self._loaded.pop(name, None)
        if loaded is None:
            return False
        await loaded.supervisor.aclose()
        return True

    @asynccontextmanager
    async def running(
        self,
        gateway: Gateway | None,
        log: logging.Logger,
        *,
        preload: bool,
        idle_unload_seconds: float,
    ) -> AsyncGenerator[None]:
        """Load the configured model in the background if `preload`, unload those that were unused
        for `idle_unload_seconds` (0 for never), and stop all workers at the end. Without a gateway,
        as in a benchmark, there is no `plugway models`. `log` gets why preloading failed."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep, log, preload, idle_unload_seconds)
                try:
                    async with control_socket(gateway):
                        yield
                finally:
                    group.cancel_scope.cancel()
        finally:  # after the group, which may be about to start a worker
            with anyio.CancelScope(shield=True):
                for name in [*self._loaded]:
                    await self.unload(name)
                await self._reservations.aclose()

    async def _keep(self, log: logging.Logger, preload: bool, idle_seconds: float) -> None:
        if preload:
            try:
                await self.get("")
            except PlugwayError as error:
                log.warning("%s", error)
        while idle_seconds:
            await anyio.sleep(min(30.0, idle_seconds / 2))
            for name, loaded in [*self._loaded.items()]:
                supervisor = loaded.supervisor
                idle = time.monotonic() - supervisor.last_used
                if not supervisor.busy and supervisor.state == "ready" and idle > idle_seconds:
                    await self.unload(name)

    async def _file(self, model: str) -> ModelFile:
        wanted = self._model if model in ("", "default") else model
        try:
            main = await anyio.to_thread.run_sync(self.find, self._model)
        except NoSuchModel as error:
            if wanted == self._model:
                raise BackendUnavailable(str(error), status=503, permanent=True) from None
            main = None
        if main is not None and wanted in self.names_of(main):
            return main
        try:
            return await anyio.to_thread.run_sync(self.find_in_folder, wanted)
        except NoSuchModel as error:
            message = f"model: {error}"
            raise RequestRejected(message, status=404, retry=False, record=True) from None

    async def _current(self, file: ModelFile) -> Loaded[FactsT, PlanT] | None:
        """The loaded model, if its files are still the same."""
        known = self._loaded.get(file.name)
        if known is None or known.file.path != file.path:
            return None
        same = known.state == await anyio.to_thread.run_sync(self.state_of, file.path)
        return known if same and self._loaded.get(file.name) is known else None

    async def _facts(self, file: ModelFile) -> FactsT:
        try:
            return await anyio.to_thread.run_sync(self.read, file)
        except UnusableModel as error:
            raise BackendUnavailable(
                f"the model cannot be used: {error}", status=503, permanent=True
            ) from None

    async def _fitting(self, file: ModelFile, facts: FactsT) -> PlanT:
        chosen = await self._planned(file, facts)
        if self.room is None and not chosen.fits and await self._make_room():
            chosen = self.plan(facts, None)
        self.planned(file, chosen)
        if self.room is None and not chosen.fits:
            raise BackendUnavailable(
                f"`{file.name}` does not fit into memory: {chosen.arithmetic()}. "
                f"Lower `context` or `slots`, or {self.smaller}",
                status=503,
                permanent=True,
            )
        return chosen

    async def _start(
        self, supervisor: Supervisor, file: ModelFile, plan: PlanT, note: Note
    ) -> None:
        if self.room is None:
            supervisor.start()
            return
        reservation = self.room.loading(self._name, file.name, plan.total, note)
        await self._reservations.start(reservation, supervisor.start, supervisor.settled)

    async def _planned(self, file: ModelFile, facts: FactsT) -> PlanT:
        """The plan for the free memory; if that is only enough for a shorter context, and another
        plugin makes room, for all that it could free."""
        if self.room is None:
            return self.plan(facts, None)
        report = await self.room.report()
        chosen = self.plan(facts, max(0, report.available - report.reserve))
        if chosen.fits and chosen.context == self.plan(facts, _ENOUGH).context:
            return chosen
        return self.plan(facts, await self.room.obtainable(self._name, file.name))

    async def _make_room(self) -> bool:
        """Unload idle models; False if there is none."""
        idle = [n for n, loaded in self._loaded.items() if not loaded.supervisor.busy]
        for name in idle:
            await self.unload(name)
        return bool(idle)

    def _log_of(self, file: ModelFile) -> Path:
        mark = hashlib.blake2b(str(file.path).encode(), digest_size=3).hexdigest()
        return log_folder() / f"{self._name}-{self.log_name(file)}-{mark}.log"

    def log_name(self, file: ModelFile) -> str:
        """The part of the log's name that says which model it is about."""
        return file.path.name
