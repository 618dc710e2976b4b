"""The backend for an Ollama on this machine: which models it has in this machine's memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plugway import Bounded, RequestRejected
from plugway_anthropic_wire import positive
from plugway_local_models import LoadedModel
from plugway_local_models.servers import has_gpu_memory
from plugway_ollama._backend import OllamaBackend
from plugway_ollama._memory import needed
from plugway_ollama._models import (
    info_of,
    is_cloud,
    is_cloud_name,
    key_of,
    variant_name,
    window_for,
)
from plugway_ollama._options import OllamaOptions

_MOST_SIZES: Final = 1_000


class OllamaHere(OllamaBackend):
    """Ollama in zone `local` on a loopback address (`HoldsModels`, `NamesModels`)."""

    def __init__(self, name: str, options: OllamaOptions) -> None:
        super().__init__(name, options)
        self._sizes: Bounded[str, int] = Bounded(_MOST_SIZES)
        """Bytes of models when they were last seen loaded, by their names in `/api/ps`."""
        self._expiries: Bounded[str, tuple[Any, float | None]] = Bounded(_MOST_SIZES)
        """`expires_at` of these models, and when it was seen to change."""

    async def loaded(self) -> Sequence[LoadedModel]:
        """What `/api/ps` lists, and what is being loaded from here. Variants count as their model.

        `size` has weights, caches and buffers; `size_vram` is the part in the memory of GPUs
        (`ProcessModelResponse` of Ollama's `api/types.go`), which counts only if that is this
        machine's memory. `expires_at` moves when a request of any client ends (`processCompleted`
        of its `server/sched.go`): it shows use by others, but not that it goes on.
        """
        running = await self._running()
        for name in self._loading.models.difference(map(key_of, running)):
            running[name] = {}
        owners = await self._owners(running)
        parts: dict[str, dict[str, Mapping[str, Any]]] = {}
        for name, entry in running.items():
            parts.setdefault(owners[name], {})[name] = entry
        return [self._held(own, found) for own, found in parts.items()]

    async def needs(self, model: str) -> int:
        """Its size when it was last loaded, else weights, cache of its window and buffers.

        0 for cloud models, and for a model that was not seen loaded yet where a GPU has memory of
        its own, because Ollama decides with the load how much of it goes there.
        """
        if is_cloud_name(model):
            return 0
        entries = await self._entries()
        entry = next(
            (found for name, found in entries.items() if key_of(name) == key_of(model)), None
        )
        if entry is None:
            message = f"model: Ollama has no model `{model}`. Get it with `ollama pull {model}`"
            raise RequestRejected(message, status=404, retry=False)
        if is_cloud(entry):
            return 0
        name, wanted = str(entry["name"]), self._options.context_tokens
        shown = await self._show(name, str(entry.get("digest", "")))
        if wanted and shown:
            name = variant_name(name, shown, wanted)
            shown = {**shown, "parameters": f"num_ctx {window_for(shown, wanted)}"}
        if (known := self._sizes.get(key_of(name))) is not None:
            return known
        if has_gpu_memory():
            return 0
        window = info_of(entry, shown, None, self._options.default_context_tokens).context_tokens
        return needed(entry, shown, window)

    async def name_of(self, model: str) -> str:
        """The name in `loaded` for a name in a request, such as `qwen3:latest` for `qwen3`."""
        return (await self._owners([model]))[model]

    def _held(self, own: str, parts: Mapping[str, Mapping[str, Any]]) -> LoadedModel:
        """One model from its entries in `/api/ps`, usually one; an empty entry is loading."""
        size = 0
        for name, entry in parts.items():
            total = positive(entry.get("size"))
            here = total - positive(entry.get("size_vram")) if has_gpu_memory() else total
            size += max(here, 0)
            if total:
                self._sizes[key_of(name)] = max(here, 0)
        windows = (positive(entry.get("context_length")) for entry in parts.values())
        keys = {key_of(name) for name in (own, *parts)}
        idle = [self._in_use.idle_seconds(key) for key in keys]
        idle += [self._idle_elsewhere(key_of(name), entry) for name, entry in parts.items()]
        return LoadedModel(
            own,
            size=size,
            requests=sum(map(self._in_use.requests, keys)),
            idle_seconds=min((seconds for seconds in idle if seconds is not None), default=None),
            state="loading" if self._loading.models.intersection(keys) else "loaded",
            context_tokens=min(filter(None, windows), default=0),
        )

    def _idle_elsewhere(self, key: str, entry: Mapping[str, Any]) -> float | None:
        """Seconds since a model's expiry moved; None if it was not seen to move."""
        expiry, now = entry.get("expires_at"), time.monotonic()
        last, moved = self._expiries.get(key, (expiry, None))
        moved = moved if last == expiry else now
        self._expiries[key] = (expiry, moved)
        return None if moved is None else now - moved
