"""The backend for LM Studio: load state and windows from its lists, loading and unloading.

Sources: lmstudio.ai/docs/developer/rest, "List your models", "Load a model", "Unload a model" (API
v1, from 0.4.0) and "REST API v0". An unknown endpoint is answered with 200 and `{"error": ...}`
(issue 618 of lmstudio-ai/lmstudio-bug-tracker).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from plugway import (
    Attempt,
    BackendProtocolError,
    BackendRefused,
    BackendUnavailable,
    MessagesRequest,
    ModelInfo,
    Reply,
    RequestRejected,
    Upstream,
    as_object,
)
from plugway_anthropic_wire import AnthropicBackend
from plugway_embeddings import Embedded, OpenAIEmbeddings, Wanted
from plugway_lmstudio._models import Entry, entries_of, models_of
from plugway_local_models.servers import InUse, Loading, becomes
from plugway_translation import Media

LOAD_SECONDS = 600.0
"""Time limit for loading a model."""
UNLOAD_SECONDS = 20.0
"""Time limit for unloading one."""
OLD = (
    "this LM Studio cannot load or unload models over its API, which came with 0.4.0; update it, "
    "or use its own window or `lms`"
)


class LmStudioBackend(OpenAIEmbeddings, AnthropicBackend):
    """LM Studio, with load state and windows."""

    kind = "lmstudio"
    no_thinking: Mapping[str, Any] = {"thinking": {"type": "disabled"}}
    unloaded_context_tokens = 0

    def __init__(self, name: str, zone: str, upstream: Upstream) -> None:
        super().__init__(name, zone, upstream)
        self._keys: dict[str, str] | None = None
        """The model of each name of an instance or a variant; None until it was listed."""
        self._old = False
        """Whether only v0 of its API answered last."""
        self._in_use = InUse()
        self._loading = Loading()

    async def __aexit__(self, *_: object) -> None:
        """Stop waiting for loads, and close every connection."""
        await self._loading.aclose()
        await super().__aexit__()

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """LM Studio's reply."""
        sending = super().send(request, attempt)
        return await self._in_use.during(self.own_name(attempt.model), sending)

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """LM Studio's vectors."""
        with self._in_use.of(self.own_name(attempt.model)):
            return await super().embed(wanted, attempt)

    def own_name(self, model: str) -> str:
        """The listed name for a name in a request, such as that of an instance."""
        return (self._keys or {}).get(model, model)

    def unfit(self, media: Media) -> str:
        """LM Studio has no documents: its Messages API page lists none."""
        return "LM Studio accepts no documents" if media.kind == "document" else ""

    async def models(self) -> Sequence[ModelInfo]:
        """The downloaded models that can chat."""
        return self.remembered(models_of(await self._list(), self.unloaded_context_tokens))

    async def load(self, model: str) -> None:
        """Load a model unless it is loaded: LM Studio would load it once more.

        `POST /api/v1/models/load`, with `context_length` if `unloaded_context_tokens` is set, so
        that the stated window is the real one.

        Raises:
            RequestRejected: LM Studio does not have it.
            BackendError: LM Studio cannot load it, or is older than 0.4.0.
        """
        await self._loading.join(self.own_name(model), partial(self._load, model))

    async def _load(self, model: str) -> None:
        entry = await self.entry(model)
        if entry.loaded:
            return
        if self._old:
            raise BackendRefused(501, b"", message=OLD, permanent=True)
        asked: dict[str, Any] = {"model": model}
        if window := self.unloaded_context_tokens:
            asked["context_length"] = min(window, entry.largest or window)
        await self._command("load", asked, LOAD_SECONDS)

    async def unload(self, model: str) -> bool:
        """Unload all instances of a model, or one instance by its id; False if none is loaded, and
        for an LM Studio before 0.4.0, which cannot do it on request.

        Raises:
            BackendUnavailable: it is still listed after `UNLOAD_SECONDS`.
            BackendError: LM Studio cannot be reached, or refuses.
        """
        instances = await self._instances(model)
        for instance in instances:
            try:
                await self._command("unload", {"instance_id": instance}, UNLOAD_SECONDS)
            except BackendRefused:  # also if it has just been unloaded
                if instance in await self._instances(model):
                    raise

        async def gone() -> bool:
            return not set(instances).intersection(await self._instances(model))

        if await becomes(gone, UNLOAD_SECONDS):
            return bool(instances)
        raise BackendUnavailable(
            f"LM Studio accepted to unload `{model}`, and still lists it as loaded after "
            f"{UNLOAD_SECONDS:g} s; see its log, or unload it there"
        )

    async def _instances(self, model: str) -> list[str]:
        """The loaded instances of a model, or that with the given id."""
        found: list[str] = []
        for entry in await self.entries():
            if entry.key == model or model in entry.variants:
                return list(entry.instances)
            found += [instance for instance in entry.instances if instance == model]
        return found

    async def _command(self, what: str, asked: Mapping[str, Any], seconds: float) -> None:
        path = f"/api/v1/models/{what}"
        body = orjson.dumps(asked)
        answer = as_object(await self.upstream.fetch_json(path, body=body, seconds=seconds))
        if "instance_id" not in answer:
            raise BackendRefused(501, b"", message=OLD, permanent=True)

    async def entries(self) -> list[Entry]:
        """All models, also those that embed. Raises `BackendError`."""
        entries = entries_of(await self._list())
        self._keys = {
            name: entry.key for entry in entries for name in (*entry.variants, *entry.instances)
        }
        return entries

    async def entry(self, model: str) -> Entry:
        """A model. Raises `RequestRejected` if there is none with that name."""
        entries = await self.entries()
        for entry in entries:
            if entry.key == self.own_name(model):
                return entry
        message = f"model: LM Studio has no model `{model}`. Get it there or with `lms get`"
        raise RequestRejected(message, status=404, retry=False)

    async def _list(self) -> Mapping[str, Any]:
        """The list of API v1, else that of v0. Raises `BackendError`."""
        try:
            found = as_object(await self.upstream.fetch_json("/api/v1/models"))
        except BackendRefused as refusal:
            if refusal.status not in {400, 404, 405}:
                raise
            found = {}
        self._old = not isinstance(found.get("models"), list)
        if not self._old:
            return found
        found = as_object(await self.upstream.fetch_json("/api/v0/models"))  # before 0.4.0
        if isinstance(found.get("data"), list):
            return found
        reason = f"{self.upstream.base_url} sent no list of models at `/api/v1/models` or "
        raise BackendProtocolError(f"{reason}`/api/v0/models`; check that it is LM Studio's")
