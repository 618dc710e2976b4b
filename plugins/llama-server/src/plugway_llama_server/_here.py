"""The backend for a llama-server on this machine: what it has in this machine's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import anyio

from plugway import BackendRefused, Bounded, Upstream
from plugway_anthropic_wire import positive
from plugway_llama_server._backend import LlamaServerBackend
from plugway_llama_server._models import IN_MEMORY, file_bytes, info_of, state_of, weights_of
from plugway_local_models import LoadedModel
from plugway_local_models.servers import has_gpu_memory

_MOST_SIZES: Final = 1_000
KEPT: Final = (
    "this llama-server has only this model and keeps it while it runs; to unload models, start it "
    "as a router, without `-m`"
)


class LlamaServerHere(LlamaServerBackend):
    """llama-server in zone `local` on a loopback address (`HoldsModels`, `NamesModels`)."""

    def __init__(self, name: str, zone: str, upstream: Upstream) -> None:
        super().__init__(name, zone, upstream)
        self._sizes: Bounded[str, int] = Bounded(_MOST_SIZES)
        """Bytes of the weights of models that were seen loaded."""

    async def loaded(self) -> Sequence[LoadedModel]:
        """The models of a router that are loaded or being loaded, or the only one.

        `size` is that of the weights (`meta.size`): llama-server reports neither the size of its
        caches, nor what is in the memory of a GPU. A sleeping model has given its memory back
        (`--sleep-idle-seconds`).
        """
        try:
            entries = await self.listed_now()
        except BackendRefused as refusal:
            if refusal.status != 503 or not self._known:
                raise
            return [LoadedModel(name, state="loading", kept=KEPT) for name in self._known]
        if self._routes:
            return [self._held(e, "") for e in entries if state_of(e) in IN_MEMORY]
        asleep = entries and (await self._props()).get("is_sleeping") is True
        return [] if asleep else [self._held(entry, KEPT) for entry in entries]

    async def needs(self, model: str) -> int:
        """Bytes of its weights: as last seen loaded, else of its files, if the router names them.
        Caches come on top. 0 where a GPU with memory of its own may take them."""
        entry = await self._entry(model)
        if has_gpu_memory():
            return 0
        size = weights_of(entry) or self._sizes.get(entry["id"], 0)
        return size or await anyio.to_thread.run_sync(file_bytes, entry)

    async def name_of(self, model: str) -> str:
        """The name in `loaded` for a name in a request, such as an alias."""
        if not self._known:
            await self.listed_now()
        return self.own_name(model)

    def _held(self, entry: Mapping[str, Any], kept: str) -> LoadedModel:
        name, size = str(entry["id"]), weights_of(entry)
        if size:
            self._sizes[name] = size
        state: Literal["loaded", "loading"] = "loaded"
        if state_of(entry) == "loading":
            state = "loading"
        return LoadedModel(
            name,
            size=0 if has_gpu_memory() else size,
            requests=self._in_use.requests(name),
            idle_seconds=self._in_use.idle_seconds(name),
            state=state,
            context_tokens=positive(info_of(entry, {}).context_tokens),
            kept=kept,
        )
