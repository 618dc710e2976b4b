"""The backends that hold models, asked within time limits; one that fails does not stop others.

See `_arbiter` for what is decided with the answers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import anyio

from plugway import PlugwayError
from plugway_local_models import (
    FreesCaches,
    HoldsModels,
    LoadedModel,
    Memory,
    NamesModels,
    ReadsMemory,
)

Key = tuple[str, str]
"""(backend, model)."""
T = TypeVar("T")

LIST_SECONDS: Final = 2.0
UNLOAD_SECONDS: Final = 30.0
_SILENT_SECONDS: Final = 15.0
"""Time during which a backend that timed out is not asked again."""

_log = logging.getLogger("plugway.memory")


@dataclass(frozen=True, slots=True)
class Held:
    """A model in memory, and whose it is."""

    backend: str
    loaded: LoadedModel
    stale: bool = False
    """Its backend does not respond, so this is what it said last."""

    @property
    def key(self) -> Key:
        """Its name and its backend's."""
        return self.backend, self.loaded.model

    @property
    def target(self) -> str:
        """`INSTANCE/MODEL`."""
        return f"{self.backend}/{self.loaded.model}"


class Owners:
    """All backends that hold models."""

    def __init__(
        self, backends: Mapping[str, HoldsModels], clock: Callable[[], float], seconds: float
    ) -> None:
        """`seconds` limits how long a backend may take to list its models."""
        self.backends = backends
        self._clock = clock
        self._seconds = seconds
        self._known: dict[str, tuple[LoadedModel, ...]] = dict.fromkeys(backends, ())
        self._silent_until: dict[str, float] = {}

    @property
    def known(self) -> list[Held]:
        """What the backends said last."""
        return [Held(name, one) for name, models in self._known.items() for one in models]

    async def all(self) -> list[Held]:
        """The models of all backends that take memory now."""
        found: dict[str, list[Held]] = {}

        async def ask(name: str) -> None:
            found[name] = await self.of(name)

        async with anyio.create_task_group() as group:
            for name in self.backends:
                group.start_soon(ask, name)
        return [held for name in self.backends for held in found[name]]

    async def of(self, name: str) -> list[Held]:
        """The models of one backend that take memory now."""
        stale = self._clock() < self._silent_until.get(name, 0.0)
        if not stale:
            models = await self._ask(name, self._listed(name), "list its models")
            stale = models is None
            self._known[name] = self._known[name] if models is None else models
        return [Held(name, model, stale) for model in self._known[name]]

    async def _listed(self, name: str) -> tuple[LoadedModel, ...]:
        models = await self.backends[name].loaded()
        return tuple(_plausible(model) for model in models if model.in_memory)

    async def still_has(self, key: Key) -> bool:
        """Whether a model is loaded; its backend is only asked if that was so the last time, since
        many may wait for one model."""
        return is_loaded(key, self.known) and is_loaded(key, await self.of(key[0]))

    async def name_of(self, name: str, model: str) -> str:
        """The backend's name of a model in a request."""
        owner = self.backends[name]
        if not isinstance(owner, NamesModels) or self._clock() < self._silent_until.get(name, 0.0):
            return model
        return await self._ask(name, owner.name_of(model), f"name `{model}`") or model

    async def needs(self, name: str, model: str) -> int:
        """Bytes that the model needs; 0 if unknown."""
        asked = self.backends[name].needs(model)
        return _count(await self._ask(name, asked, f"say what `{model}` needs"))

    async def unload(self, held: Held) -> str:
        """Unload a model; returns why that failed, or an empty string. Cannot be cancelled, so that
        no model is left half unloaded."""
        owner = self.backends[held.backend]
        done = False
        with anyio.move_on_after(UNLOAD_SECONDS, shield=True) as scope:
            try:
                done = await owner.unload(held.loaded.model)
            except Exception as error:  # a backend of any kind: it is contained here
                return _reason(error)
        if scope.cancelled_caught:
            return f"it timed out after {UNLOAD_SECONDS:g} s"
        if not done:
            return "its backend says that it is not loaded"
        listed: list[Held] = []
        with anyio.CancelScope(shield=True):
            listed = await self.of(held.backend)
        there = [one for one in listed if one.key == held.key and not one.stale]
        if any(one.loaded.state == "loaded" for one in there):
            return "its backend says that it is unloaded, but still lists it as loaded"
        kept = [model for model in self._known[held.backend] if model.model != held.loaded.model]
        self._known[held.backend] = tuple(kept)
        return ""

    async def free_caches(self) -> int:
        """Bytes that the backends gave up."""
        freed = 0
        for name, owner in self.backends.items():
            if isinstance(owner, FreesCaches):
                freed += _count(await self._ask(name, owner.free_caches(), "free its caches"))
        return freed

    def limits(self) -> Iterator[Memory]:
        """The readings of backends that know a limit of their own."""
        for name, owner in self.backends.items():
            if isinstance(owner, ReadsMemory):
                try:
                    reading = owner.memory()
                except Exception as error:  # a backend of any kind: it is contained here
                    _log.warning("`%s` could not read its memory: %s", name, _reason(error))
                    continue
                if reading is not None:
                    yield reading

    async def _ask(self, name: str, asked: Awaitable[T], what: str) -> T | None:
        """An answer, or None if there is none in time or it is an error; that is logged."""
        try:
            with anyio.fail_after(self._seconds):
                return await asked
        except TimeoutError:
            self._silent_until[name] = self._clock() + _SILENT_SECONDS
            reason = f"timed out after {self._seconds:g} s"
        except Exception as error:  # a backend of any kind: it is contained here
            reason = _reason(error)
        _log.warning("`%s` could not %s: %s", name, what, reason)
        return None


def is_loaded(key: Key, held: Sequence[Held]) -> bool:
    """Whether a model is listed, and not as being loaded."""
    return any(one.key == key and one.loaded.state != "loading" for one in held)


def fewest(held: Sequence[Held], short: int) -> list[Held]:
    """The first of the models that have `short` bytes together, without those that the others do
    not need for it."""
    chosen: list[Held] = []
    freed = 0
    for one in held:
        if freed < short:
            chosen.append(one)
            freed += one.loaded.size
    for one in list(chosen):
        if freed - one.loaded.size >= short:
            chosen.remove(one)
            freed -= one.loaded.size
    return chosen


def _plausible(model: LoadedModel) -> LoadedModel:
    """What a backend of any kind reports, with 0 or None for numbers that cannot be."""
    idle = model.idle_seconds
    return replace(
        model,
        size=_count(model.size),
        reclaimable=_count(model.reclaimable),
        requests=_count(model.requests),
        context_tokens=_count(model.context_tokens),
        idle_seconds=idle if idle is not None and 0 <= idle < math.inf else None,
    )


def _count(value: float | None) -> int:
    return int(value) if value is not None and 0 < value < math.inf else 0


def _reason(error: Exception) -> str:
    return error.record if isinstance(error, PlugwayError) else type(error).__name__
