"""The backend for vLLM: `max_model_len` is the window of prompt and reply together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from plugway import ModelInfo
from plugway_anthropic_wire import (
    NO_THINKING,
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    model_of,
    upstream_of,
    zone_of,
)
from plugway_embeddings import OpenAIEmbeddings
from plugway_translation import Media


class VllmOptions(EndpointOptions):
    """Options of `vllm`."""

    base_url: str = "http://127.0.0.1:8000"
    """Address of vLLM, without `/v1`. With a key it must be https, or on this machine."""


class VllmBackend(OpenAIEmbeddings, AnthropicBackend):
    """vLLM, whose models are all loaded."""

    kind = "vllm"
    no_thinking = NO_THINKING

    def unfit(self, media: Media) -> str:
        """vLLM has no documents: it rejects blocks that its `AnthropicContentBlock` lacks."""
        return "vLLM accepts no documents" if media.kind == "document" else ""

    async def thinks(self, model: str) -> bool:
        """Never known: vLLM lists no capabilities."""
        return False

    async def models(self) -> Sequence[ModelInfo]:
        """The served names; an adapter has the window of its base model."""
        entries = await self.listed()
        found = {entry["id"]: replace(model_of(entry), state="loaded") for entry in entries}
        for entry in entries:
            parent = found.get(str(entry.get("parent")))
            if parent is not None and not found[entry["id"]].context_tokens:
                window = parent.context_tokens
                found[entry["id"]] = replace(found[entry["id"]], context_tokens=window)
        return list(found.values())


class Vllm(EndpointPlugin[VllmOptions]):
    """Registers one vLLM server as a backend."""

    def make_backend(self) -> AnthropicBackend:
        """The server at `base_url`."""
        upstream = upstream_of(self.options)
        return VllmBackend(self.name, zone_of(self.options, upstream), upstream)
