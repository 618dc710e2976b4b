"""The backend for an LM Studio on this machine: what it has in this machine's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from plugway_lmstudio._backend import OLD, LmStudioBackend
from plugway_lmstudio._models import Entry
from plugway_local_models import LoadedModel
from plugway_local_models.servers import has_gpu_memory


class LmStudioHere(LmStudioBackend):
    """LM Studio in zone `local` on a loopback address (`HoldsModels`, `NamesModels`)."""

    async def loaded(self) -> Sequence[LoadedModel]:
        """The loaded models; several instances of one count together, as they do in requests.

        `size` is that of the model's files for each instance (`size_bytes`): LM Studio reports
        neither the size of its caches, nor what is in the memory of a GPU, and v0 of its API no
        size at all. What it loads on another device (LM Link) is listed as if it were here.
        """
        loading = self._loading.models
        return [
            self._held(entry)
            for entry in await self.entries()
            if entry.state in ("loaded", "loading") or entry.key in loading
        ]

    async def needs(self, model: str) -> int:
        """Bytes of its files; caches come on top. 0 if LM Studio does not report it, and where a
        GPU with memory of its own may take them."""
        entry = await self.entry(model)
        return 0 if has_gpu_memory() else entry.size

    async def name_of(self, model: str) -> str:
        """The name in `loaded` for a name in a request, such as that of an instance."""
        if self._keys is None:
            await self.entries()
        return self.own_name(model)

    def _held(self, entry: Entry) -> LoadedModel:
        state: Literal["loaded", "loading"] = "loaded" if entry.loaded else "loading"
        return LoadedModel(
            entry.key,
            size=0 if has_gpu_memory() else entry.size * max(1, len(entry.instances)),
            requests=self._in_use.requests(entry.key),
            idle_seconds=self._in_use.idle_seconds(entry.key),
            state=state,
            context_tokens=entry.window,
            kept=OLD if entry.loaded and not entry.instances else "",
        )
