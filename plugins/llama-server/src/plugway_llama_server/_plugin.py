"""The backend for llama-server: its models, and whether they are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from plugway import BackendError, BackendRefused, ModelInfo, as_object
from plugway_anthropic_wire import (
    NO_THINKING,
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    upstream_of,
    zone_of,
)
from plugway_embeddings import OpenAIEmbeddings
from plugway_llama_server._models import info_of
from plugway_translation import Media


class LlamaServerOptions(EndpointOptions):
    """Options of `llama-server`."""

    base_url: str = "http://127.0.0.1:8080"
    """Address of llama-server, without `/v1`. With a key it must be https, or on this machine."""


class LlamaServerBackend(OpenAIEmbeddings, AnthropicBackend):
    """llama-server, with windows and load state."""

    kind = "llama-server"
    no_thinking = NO_THINKING
    _known: tuple[str, ...] = ()

    def unfit(self, media: Media) -> str:
        """llama-server has no documents: it silently drops them."""
        return "llama-server accepts no documents" if media.kind == "document" else ""

    async def models(self) -> Sequence[ModelInfo]:
        """The served models. While the server loads and answers 503, the last known ones."""
        try:
            entries = await self.listed()
        except BackendRefused as refusal:
            if refusal.status != 503 or not self._known:
                raise
            return [ModelInfo(name, state="loading") for name in self._known]
        self._known = tuple(entry["id"] for entry in entries)
        routes = any("status" in entry for entry in entries)
        # A router would load a model to answer this, so only a single-model server is asked.
        props = {} if routes else await self._props()
        return self.remembered([info_of(entry, props) for entry in entries])

    async def _props(self) -> dict[str, object]:
        try:
            return as_object(await self.upstream.fetch_json("/props"))
        except BackendError:  # disabled, or an older server: the list alone is enough
            return {}


class LlamaServer(EndpointPlugin[LlamaServerOptions]):
    """Registers one llama-server as a backend."""

    def make_backend(self) -> AnthropicBackend:
        """The server at `base_url`."""
        upstream = upstream_of(self.options)
        return LlamaServerBackend(self.name, zone_of(self.options, upstream), upstream)
