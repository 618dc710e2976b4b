"""The backend for llama-server: its models, whether they are loaded, loading and unloading.

Sources: "Using multiple models" in `tools/server/README.md` of llama.cpp, and `get_router_models`,
`post_router_models_load` and `post_router_models_unload` of its `server-models.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    MessagesRequest,
    ModelInfo,
    Reply,
    RequestRejected,
    Upstream,
    as_object,
)
from plugway_anthropic_wire import NO_THINKING, AnthropicBackend
from plugway_embeddings import Embedded, OpenAIEmbeddings, Wanted
from plugway_llama_server._models import IN_MEMORY, aliases_of, info_of, is_router, state_of
from plugway_local_models.servers import InUse, Loading, becomes
from plugway_translation import Media

LOAD_SECONDS = 600.0
"""Time limit for loading a model."""
UNLOAD_SECONDS = 20.0
"""Time limit for unloading one. A router kills its process after 10 s (`stop-timeout`)."""


class LlamaServerBackend(OpenAIEmbeddings, AnthropicBackend):
    """llama-server, with windows and load state."""

    kind = "llama-server"
    no_thinking = NO_THINKING

    def __init__(self, name: str, zone: str, upstream: Upstream) -> None:
        super().__init__(name, zone, upstream)
        self._known: tuple[str, ...] = ()
        self._others: dict[str, str] = {}
        """The model of each alias, as listed last."""
        self._routes = False
        """Whether the server was a router when it was listed last."""
        self._in_use = InUse()
        self._loading = Loading()

    async def __aexit__(self, *_: object) -> None:
        """Stop waiting for loads, and close every connection."""
        await self._loading.aclose()
        await super().__aexit__()

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The server's reply."""
        return await self._in_use.during(
            self.own_name(attempt.model), super().send(request, attempt)
        )

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """The server's vectors."""
        with self._in_use.of(self.own_name(attempt.model)):
            return await super().embed(wanted, attempt)

    def own_name(self, model: str) -> str:
        """The listed name for a name in a request: a router has aliases, and a server of one model
        answers under every name."""
        if not self._routes and len(self._known) == 1:
            return self._known[0]
        return self._others.get(model, model)

    def unfit(self, media: Media) -> str:
        """llama-server has no documents: it silently drops them."""
        return "llama-server accepts no documents" if media.kind == "document" else ""

    async def models(self) -> Sequence[ModelInfo]:
        """The served models. While the server loads and answers 503, the last known ones."""
        try:
            entries = await self.listed_now()
        except BackendRefused as refusal:
            if refusal.status != 503 or not self._known:
                raise
            return [ModelInfo(name, state="loading") for name in self._known]
        # A router would load a model to answer this, so only a single-model server is asked.
        props = {} if self._routes else await self._props()
        return self.remembered([info_of(entry, props) for entry in entries])

    async def listed_now(self) -> list[dict[str, Any]]:
        """The entries of the list. Raises `BackendError`, with status 503 while the only model is
        being loaded."""
        entries = await self.listed()
        self._routes = is_router(entries)
        self._known = tuple(entry["id"] for entry in entries)
        self._others = {alias: entry["id"] for entry in entries for alias in aliases_of(entry)}
        return entries

    async def load(self, model: str) -> None:
        """Load a model: `POST /models/load` of a router, which returns before it is loaded. The
        model of a server without a router is always loaded, once it answers.

        Raises:
            RequestRejected: the router has no model with that name.
            BackendError: the load failed, or the server cannot be reached.
        """
        await self._loading.join(model, partial(self._load, model))

    async def _load(self, model: str) -> None:
        requested = False

        async def is_loaded() -> bool:
            nonlocal requested
            state = await self._state(model)
            if state == "unloaded" and requested:
                reason = f"llama-server could not load `{model}`; its log says why"
                raise BackendUnavailable(reason, permanent=True)
            if state == "unloaded":
                requested = True
                await self._command("load", self.own_name(model))
            return state in ("loaded", "sleeping")

        if not await becomes(is_loaded, LOAD_SECONDS):
            raise BackendTimeout(f"`{model}` is not loaded after {LOAD_SECONDS:g} s")

    async def _state(self, model: str) -> str:
        try:
            return state_of(await self._entry(model))
        except BackendRefused as refusal:
            if refusal.status != 503:  # a server of one model refuses everything while it loads
                raise
            return "loading"

    async def unload(self, model: str) -> bool:
        """Unload a model of a router; False if it is not loaded. A server of one model keeps it.

        `POST /models/unload` returns before the model's process has stopped, so the list decides.

        Raises:
            BackendUnavailable: it is still listed as loaded after `UNLOAD_SECONDS`.
            BackendError: the server cannot be reached, or refuses.
        """
        if not await self._holds(model):
            return False
        try:
            await self._command("unload", self.own_name(model))
        except BackendRefused:  # also if it has just been unloaded
            if await self._holds(model):
                raise

        async def gone() -> bool:
            return not await self._holds(model)

        if await becomes(gone, UNLOAD_SECONDS):
            return True
        raise BackendUnavailable(
            f"llama-server accepted to unload `{model}`, and still lists it as loaded after "
            f"{UNLOAD_SECONDS:g} s; its log says why"
        )

    async def _holds(self, model: str) -> bool:
        """Whether a router has the model in memory."""
        entries = await self.listed_now()
        named = (entry for entry in entries if entry["id"] == self.own_name(model))
        return self._routes and any(state_of(entry) in IN_MEMORY for entry in named)

    async def _entry(self, model: str) -> dict[str, Any]:
        """The entry of a model. Raises `RequestRejected` if there is none."""
        entries = await self.listed_now()
        name = self.own_name(model)
        for entry in entries:
            if entry["id"] == name:
                return entry
        message = f"model: llama-server lists no model `{model}`"
        raise RequestRejected(message, status=404, retry=False)

    async def _command(self, what: str, model: str) -> None:
        """`POST /models/load` or `/models/unload`. Both may wait for another model to stop."""
        path, body = f"/models/{what}", orjson.dumps({"model": model})
        try:
            await self.upstream.fetch_json(path, body=body, seconds=UNLOAD_SECONDS)
        except BackendRefused as refusal:
            if refusal.status not in (404, 405, 501):
                raise
            message = f"this llama-server has no `POST {path}`; update it"
            raise BackendRefused(refusal.status, b"", message=message, permanent=True) from None

    async def _props(self) -> dict[str, object]:
        try:
            return as_object(await self.upstream.fetch_json("/props"))
        except BackendError:  # disabled, or an older server: the list alone is enough
            return {}
