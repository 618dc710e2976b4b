"""The backend: sends requests to the worker of their model.

The worker renders, counts and decodes; `_models` knows the worker of each model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from plugway import Attempt, InvalidRequest, MessagesRequest, ModelInfo, Reply
from plugway_embeddings import Embedded, Wanted
from plugway_llama_cpp._embedding import vectors_of
from plugway_llama_cpp._memory import resident_memory
from plugway_llama_cpp._models import Loaded, Models
from plugway_llama_cpp._options import LlamaCppOptions
from plugway_local_engine import check_choice, count_tokens, free_states, generate
from plugway_local_engine.demo import DEMO, DEMO_NOTICE
from plugway_local_models import LoadedModel, MakesRoom

_STATES: Final = {"ready": "loaded", "loading": "loading", "restarting": "loading"}


class LlamaCppBackend:
    """One instance: a configured model, and others of the models folder on demand."""

    zone = "local"

    def __init__(self, name: str, options: LlamaCppOptions) -> None:
        self.name = name
        self._options = options
        self.loader = Models(name, options)
        self.hold_demo = True
        """Whether to restrict the demo model's calls to three forms; tests may disable it."""

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Run inference. The reply starts when the prompt is accepted, not when it is computed.

        Raises:
            InvalidRequest: `tool_choice` is invalid.
            BackendError: the model is not available, or its worker failed.
        """
        check_choice(request)
        loaded = await self._speaking(attempt)
        return await generate(
            loaded.supervisor,
            request,
            attempt,
            file=loaded.file.name,
            demo=loaded.is_demo,
            held=self.hold_demo,
        )

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int:
        """Exact number of tokens of the rendered prompt."""
        loaded = await self._speaking(attempt)
        return await count_tokens(loaded.supervisor, request, attempt, demo=loaded.is_demo)

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """Vectors of length 1 (`Embeds`).

        Raises:
            InvalidRequest: the model is not an embedding model, or the input does not suit it.
            BackendError: the model cannot be loaded, or its worker failed.
        """
        loaded = await self.loader.get(attempt.model, attempt.note)
        if not loaded.header.embeds:
            what = f"model: `{loaded.file.name}` is not an embedding model"
            raise InvalidRequest(what, retry=False, record=True)
        return await vectors_of(loaded.supervisor, wanted, attempt, loaded.file.name)

    async def models(self) -> Sequence[ModelInfo]:
        """The configured model first, then the others in the models folder."""
        return [self._info(file.name) for file in await self.loader.names()]

    async def load(self, model: str) -> None:
        """Load a model; also enables it again after too many crashes.

        Raises:
            BackendUnavailable: the file is missing, damaged or too large.
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
        return [_held(model) for model in self.loader.loaded.values()]

    async def needs(self, model: str) -> int:
        """Bytes of a model with its cache, from the file's header.

        Raises:
            BackendUnavailable: the file is missing or damaged.
            RequestRejected: no model has that name.
        """
        return await self.loader.needs(model)

    def ask_for_room(self, room: MakesRoom) -> None:
        """From now on, load no model before `room` has made room for it (`AsksForRoom`)."""
        self.loader.room = room

    async def free_caches(self) -> int:
        """Drop the states of conversations that have no slot; those on disk stay. Returns their
        bytes (`FreesCaches`)."""
        models = [m for m in self.loader.loaded.values() if not m.header.embeds]
        return sum([await free_states(model.supervisor) for model in models])

    async def name_of(self, model: str) -> str:
        """The name of the file that a request means (`NamesModels`)."""
        return await self.loader.name_of(model)

    async def _speaking(self, attempt: Attempt) -> Loaded:
        loaded = await self.loader.get(attempt.model, attempt.note)
        if loaded.header.embeds:
            what = (
                f"model: `{loaded.file.name}` is an embedding model; request it at /v1/embeddings"
            )
            raise InvalidRequest(what, retry=False, record=True)
        return loaded

    def _info(self, name: str) -> ModelInfo:
        loaded = self.loader.loaded.get(name)
        if loaded is None:
            notice = self.loader.misfit(name) or (DEMO_NOTICE if name == DEMO else "")
            return ModelInfo(name, display_name=name, state="unloaded", notice=notice)
        able = {"embeddings"} if loaded.header.embeds else {"tools", "structured_output"}
        size = {"parameters": loaded.header.parameters, "bytes": loaded.header.size}
        return ModelInfo(
            name,
            display_name=loaded.header.text("general.name") or name,
            context_tokens=loaded.plan.context,
            max_output_tokens=loaded.plan.context,
            state=_STATES.get(loaded.supervisor.state, "unloaded"),  # pyright: ignore[reportArgumentType]
            capabilities=frozenset({*able, *(["images"] if loaded.mmproj else [])}),
            extra={"architecture": loaded.header.architecture, **size},
            notice=DEMO_NOTICE if loaded.is_demo else "",
        )


def _held(loaded: Loaded) -> LoadedModel:
    supervisor = loaded.supervisor
    resident, mapped = resident_memory(supervisor.pid)
    return LoadedModel(
        loaded.file.name,
        size=max(loaded.plan.total, resident),
        requests=supervisor.busy,
        idle_seconds=time.monotonic() - supervisor.last_used,
        state="loaded" if supervisor.state == "ready" else supervisor.state,
        context_tokens=loaded.plan.context,
        reclaimable=mapped,
        pid=supervisor.pid,
        problem=supervisor.failure[0] if supervisor.failure else "",
    )
