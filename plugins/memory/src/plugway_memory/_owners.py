"""The backends that hold models, asked within time limits; one that fails does not stop others.

See `_arbiter` for what is decided with the answers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio

from plugway import PlugwayError
from plugway_local_models import FreesCaches, HoldsModels, LoadedModel, NamesModels

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
            models = await self._ask(name, self.backends[name].loaded(), "list its models")
            stale = models is None
            if models is not None:
                self._known[name] = tuple(model for model in models if model.in_memory)
        return [Held(name, model, stale) for model in self._known[name]]

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
        return max(0, await self._ask(name, asked, f"say what `{model}` needs") or 0)

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
        kept = [model for model in self._known[held.backend] if model.model != held.loaded.model]
        self._known[held.backend] = tuple(kept)
        return ""

    async def free_caches(self) -> int:
        """Bytes that the backends gave up."""
        freed = 0
        for name, owner in self.backends.items():
            if isinstance(owner, FreesCaches):
                freed += max(0, await self._ask(name, owner.free_caches(), "free its caches") or 0)
        return freed

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


def _reason(error: Exception) -> str:
    return error.record if isinstance(error, PlugwayError) else type(error).__name__
