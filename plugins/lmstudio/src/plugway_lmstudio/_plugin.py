"""The backend for LM Studio: load state and windows from its own lists of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from plugway import BackendRefused, ModelInfo
from plugway_anthropic_wire import (
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    upstream_of,
    zone_of,
)
from plugway_embeddings import OpenAIEmbeddings
from plugway_lmstudio._models import models_of
from plugway_translation import Media


class LmStudioOptions(EndpointOptions):
    """Options of `lmstudio`."""

    base_url: str = "http://127.0.0.1:1234"
    """Address of LM Studio's server, without `/v1`. With a key it must be https, or on this
    machine."""
    unloaded_context_tokens: int = Field(default=0, ge=0)
    """Window to state for models that are not loaded yet: the one LM Studio will load them with,
    which it does not report. 0 states the model's maximum."""


class LmStudioBackend(OpenAIEmbeddings, AnthropicBackend):
    """LM Studio, with load state and windows."""

    kind = "lmstudio"
    no_thinking: Mapping[str, Any] = {"thinking": {"type": "disabled"}}
    unloaded_context_tokens = 0

    def unfit(self, media: Media) -> str:
        """LM Studio has no documents: its Messages API page lists none."""
        return "LM Studio accepts no documents" if media.kind == "document" else ""

    async def models(self) -> Sequence[ModelInfo]:
        """The downloaded models that can chat."""
        return self.remembered(models_of(await self._list(), self.unloaded_context_tokens))

    async def _list(self) -> Any:
        try:
            return await self.upstream.fetch_json("/api/v1/models")
        except BackendRefused as refusal:
            if refusal.status not in {400, 404, 405}:
                raise
        return await self.upstream.fetch_json("/api/v0/models")  # LM Studio before 0.4.0


class LmStudio(EndpointPlugin[LmStudioOptions]):
    """Registers one LM Studio server as a backend."""

    def make_backend(self) -> AnthropicBackend:
        """The server at `base_url`."""
        upstream = upstream_of(self.options)
        backend = LmStudioBackend(self.name, zone_of(self.options, upstream), upstream)
        backend.unloaded_context_tokens = self.options.unloaded_context_tokens
        return backend
