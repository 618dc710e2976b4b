"""The parts of a backend that every engine inside Plugway shares. `_loader` knows the workers."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic

from plugway import Attempt, MessagesRequest, ModelInfo, Reply
from plugway_local_engine._generation import check_choice, count_tokens, free_states, generate
from plugway_local_engine._loader import EngineLoader, FactsT, Loaded, PlanT
from plugway_local_engine.demo import DEMO, DEMO_NOTICE
from plugway_local_models import LoadedModel, MakesRoom, Progress

_STATES: Final = {"ready": "loaded", "loading": "loading", "restarting": "loading"}


class EngineBackend(ABC, Generic[FactsT, PlanT]):
    """One instance: a configured model, and others of the models folder on demand."""

    zone = "local"

    def __init__(self, name: str, loader: EngineLoader[FactsT, PlanT]) -> None:
        self.name = name
        self.loader = loader
        self.hold_demo = True
        """Whether to restrict the demo model's calls to three forms; tests may disable it."""

    # ── what a subclass knows ────────────────────────────────────────────────────────────────

    @abstractmethod
    def described(self, loaded: Loaded[FactsT, PlanT]) -> Mapping[str, Any]:
        """`display_name`, `capabilities` and `extra` of a loaded model (`ModelInfo`)."""

    async def speaking(self, attempt: Attempt) -> Loaded[FactsT, PlanT]:
        """The model of a request for text. Raises as `EngineLoader.get` does."""
        return await self.loader.get(attempt.model, attempt.note)

    def with_states(self) -> Sequence[Loaded[FactsT, PlanT]]:
        """The loaded models that keep states of conversations."""
        return [*self.loader.loaded.values()]

    def notice(self, name: str) -> str:
        """The notice of a model that is not loaded (`ModelInfo.notice`)."""
        return DEMO_NOTICE if name == DEMO else ""

    def memory_of(self, loaded: Loaded[FactsT, PlanT]) -> tuple[int, int]:
        """Bytes that a worker uses, and those of them that can be read from files again."""
        return loaded.plan.total, 0

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Run inference. The reply starts when the prompt is accepted, not when it is computed.

        Raises:
            InvalidRequest: `tool_choice` is invalid.
            BackendError: the model is not available, or its worker failed.
        """
        check_choice(request)
        loaded = await self.speaking(attempt)
        return await generate(
            loaded.supervisor,
            request,
            attempt,
            file=loaded.file.name,
            demo=loaded.is_demo,
            held=self.hold_demo,
        )

    def progress_of(self, attempt: Attempt) -> Progress | None:
        """How far a request is (`TellsProgress`)."""
        models = [*self.loader.loaded.values()]
        for model in models:
            if found := model.supervisor.progress_of(attempt.exchange.id):
                return found
        loading = [m.file.name for m in models if _STATES.get(m.supervisor.state) == "loading"]
        return Progress(loading=loading[0]) if loading else None

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int:
        """Exact number of tokens of the rendered prompt."""
        loaded = await self.speaking(attempt)
        return await count_tokens(loaded.supervisor, request, attempt, demo=loaded.is_demo)

    async def models(self) -> Sequence[ModelInfo]:
        """The configured model first, then the others in the models folder."""
        return [self._info(file.name) for file in await self.loader.names()]

    # ── models in memory ─────────────────────────────────────────────────────────────────────

    async def load(self, model: str) -> None:
        """Load a model; also enables it again after too many crashes.

        Raises:
            BackendUnavailable: the engine or the model is missing, or it is damaged or too large.
            RequestRejected: no model has that name.
        """
        loaded = await self.loader.get(model)
        loaded.supervisor.reset()
        await loaded.supervisor.ready()

    async def unload(self, model: str) -> bool:
        """Unload a model from memory; False if it was not loaded."""
        return await self.loader.unload(model)

    async def loaded(self) -> list[LoadedModel]:
        """The models that have a worker, also one that failed (`HoldsModels`)."""
        return [self._held(model) for model in self.loader.loaded.values()]

    async def needs(self, model: str) -> int:
        """Bytes of a model with its cache, from its files.

        Raises:
            BackendUnavailable: the model is missing or damaged.
            RequestRejected: no model has that name.
        """
        return await self.loader.needs(model)

    def ask_for_room(self, room: MakesRoom) -> None:
        """From now on, load no model before `room` has made room for it (`AsksForRoom`)."""
        self.loader.room = room

    async def free_caches(self) -> int:
        """Drop the states of conversations that have no slot; those on disk stay. Returns their
        bytes (`FreesCaches`)."""
        return sum([await free_states(model.supervisor) for model in self.with_states()])

    async def name_of(self, model: str) -> str:
        """The name of the model that a request means (`NamesModels`)."""
        return await self.loader.name_of(model)

    def _info(self, name: str) -> ModelInfo:
        loaded = self.loader.loaded.get(name)
        if loaded is None:
            return ModelInfo(name, display_name=name, state="unloaded", notice=self.notice(name))
        return ModelInfo(
            name,
            context_tokens=loaded.plan.context,
            max_output_tokens=loaded.plan.context,
            state=_STATES.get(loaded.supervisor.state, "unloaded"),  # pyright: ignore[reportArgumentType]
            notice=DEMO_NOTICE if loaded.is_demo else "",
            **self.described(loaded),
        )

    def _held(self, loaded: Loaded[FactsT, PlanT]) -> LoadedModel:
        supervisor = loaded.supervisor
        size, reclaimable = self.memory_of(loaded)
        return LoadedModel(
            loaded.file.name,
            size=size,
            requests=supervisor.busy,
            idle_seconds=time.monotonic() - supervisor.last_used,
            state="loaded" if supervisor.state == "ready" else supervisor.state,
            context_tokens=loaded.plan.context,
            reclaimable=reclaimable,
            pid=supervisor.pid,
            problem=supervisor.failure[0] if supervisor.failure else "",
        )
