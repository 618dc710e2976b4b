"""The protocols between backends that hold models in memory, and the plugin that divides it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from plugway import Attempt, Loads

GONE: Final = frozenset(("failed", "quarantined", "stopped"))
"""States in which a model takes no memory, although its backend still lists it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is in this machine's memory, or is being loaded into it."""

    model: str
    """The backend's own name of the model, as in a request."""
    size: int = 0
    """Bytes of this machine's memory with its caches; 0 if unknown. What is in a GPU's own memory
    does not count."""
    requests: int = 0
    """Requests that the backend serves with it now, as far as the backend knows."""
    idle_seconds: float | None = None
    """Since its last request ended; None if unknown."""
    state: str = "loaded"
    """`loaded`, `loading`, one of `GONE`, or the backend's own word for something between."""
    context_tokens: int = 0
    """Window that it is loaded with; 0 if unknown."""
    reclaimable: int = 0
    """Bytes of `size` that the system counts as available all the same: weights that are mapped
    from a file on Linux."""
    kept: str = ""
    """Why it cannot be unloaded, as a sentence without its end; empty if it can."""
    pid: int | None = None
    """The process that holds it, if it is known."""
    problem: str = ""
    """Why it does not run, for `plugway models ps`."""

    @property
    def in_memory(self) -> bool:
        """Whether it takes memory, or soon will."""
        return self.state not in GONE


@runtime_checkable
class HoldsModels(Loads, Protocol):
    """A backend in zone `local` that holds models in memory, and can be told to unload them."""

    async def loaded(self) -> Sequence[LoadedModel]:
        """What is in memory now, also if somebody else had it loaded.

        Raises:
            BackendError: the list cannot be read.
        """
        ...

    async def needs(self, model: str) -> int:
        """Estimated bytes of this machine's memory that `model` needs once it is loaded; 0 if
        unknown.

        Raises:
            BackendError: the estimate cannot be made, as if the model is missing or damaged.
            RequestRejected: no model has that name.
        """
        ...


@runtime_checkable
class NamesModels(Protocol):
    """A backend whose models have several names in requests, such as `default`."""

    async def name_of(self, model: str) -> str:
        """The name in `LoadedModel` for a name in a request; the same one if it is unknown."""
        ...


@runtime_checkable
class FreesCaches(Protocol):
    """A backend that can give memory back and keep its models."""

    async def free_caches(self) -> int:
        """Give up what can be computed again; returns the bytes that this frees, 0 for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a request is in the engine that computes it."""

    loading: str = ""
    """The model that is being loaded, if the request waits for that."""
    ahead: int | None = None
    """Number of requests that are computed or wait before it; None if it is not queued."""
    read: int = 0
    """Tokens of its prompt that are computed, or were kept from an earlier request."""
    of: int = 0
    """Tokens of its prompt; 0 if they are not counted yet."""
    written: int = 0
    """Tokens of its reply."""


@runtime_checkable
class TellsProgress(Protocol):
    """A backend that knows how far the requests are that it computes."""

    def progress_of(self, attempt: Attempt) -> Progress | None:
        """How far a running attempt is, at most a second or two old; None if that is unknown.
        Called often: it must not wait for anything."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """A reading, in bytes."""

    total: int
    available: int
    """What can be used without swapping; cached files count as available."""


@runtime_checkable
class ReadsMemory(Protocol):
    """A backend that knows a limit besides the system's, such as the working set of Metal."""

    def memory(self) -> Memory | None:
        """The last reading; None if there is none. Called often: it must not wait for anything."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that the plugin which makes room has done."""

    age_seconds: float
    what: str


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What the plugin that makes room knows, in bytes."""

    total: int
    available: int
    """Without swapping, less the reservations of models that are being loaded."""
    reserve: int
    """What stays free for everything else."""
    models: Sequence[tuple[str, LoadedModel]] = ()
    """All models in memory with the names of their backends; `requests` and `idle_seconds` count
    what the gateway itself knows, too."""
    decisions: Sequence[Decision] = ()
    """The last ones, the newest last."""


@runtime_checkable
class MakesRoom(Protocol):
    """The plugin that decides which models stay in memory."""

    def loading(
        self, backend: str, model: str, size: int, note: Callable[[str], None]
    ) -> AbstractAsyncContextManager[None]:
        """Hold `size` bytes for a model of the backend while it is loaded.

        Entering waits for room: idle models are unloaded, never one that serves a request. `note`
        gets each decision as a sentence. If the same model is being loaded already, its
        reservation is shared.

        Raises:
            BackendUnavailable: it can never fit, or no model became idle in time.
        """
        ...

    async def obtainable(self, backend: str, model: str) -> int:
        """Bytes that the model could have if all others that may be unloaded were idle."""
        ...

    async def report(self) -> MemoryReport:
        """The present state."""
        ...


@runtime_checkable
class AsksForRoom(Protocol):
    """A backend that enters `MakesRoom.loading` itself whenever it loads a model, so that room is
    also made for models that are loaded at the start or by a command."""

    def ask_for_room(self, room: MakesRoom) -> None:
        """Called once, before the lifespan of the backend's plugin."""
        ...
