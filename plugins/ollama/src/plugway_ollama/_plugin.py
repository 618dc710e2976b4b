"""The backend for Ollama: its models are asked for one by one, and cloud models only by consent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import orjson
from pydantic import Field

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    MessagesRequest,
    ModelInfo,
    Reply,
    as_object,
)
from plugway_anthropic_wire import (
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    upstream_of,
    zone_of,
)
from plugway_ollama._models import info_of, is_cloud, is_cloud_name, names_of

_ASKED_AT_ONCE = 8


class OllamaOptions(EndpointOptions):
    """Options of `ollama`."""

    base_url: str = "http://127.0.0.1:11434"
    """Address of Ollama, without `/v1`. With a key it must be https, or on this machine."""
    default_context_tokens: int = Field(default=4096, ge=256)
    """Window of a model that is not loaded and sets no `num_ctx`: what `OLLAMA_CONTEXT_LENGTH` is
    for the Ollama server."""
    cloud_models: bool = False
    """Allow models that Ollama runs on its own machines; the zone is then `ollama-cloud` unless
    set, because prompts may leave this machine."""


class OllamaBackend(AnthropicBackend):
    """Ollama, asked for the window of each model."""

    kind = "ollama"

    def __init__(self, name: str, options: OllamaOptions) -> None:
        upstream = upstream_of(options)
        leaves = options.cloud_models and not options.zone
        super().__init__(name, "ollama-cloud" if leaves else zone_of(options, upstream), upstream)
        self._options = options
        self._shown: dict[tuple[str, str], Mapping[str, Any]] = {}

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Ollama's answer; a cloud model needs consent, because this backend says `local`."""
        if not self._options.cloud_models and is_cloud_name(attempt.model):
            raise BackendRefused(
                403,
                b"",
                message=f"`{attempt.model}` runs on Ollama's own machines; set "
                f"`cloud_models: true` in the options of `{self.name}` to let prompts go there",
                permanent=True,
            )
        return await super().send(request, attempt)

    async def models(self) -> Sequence[ModelInfo]:
        """What is pulled, each with the window that it has now or would be loaded with."""
        entries = names_of(await self.upstream.fetch_json("/api/tags"))
        running = names_of(await self.upstream.fetch_json("/api/ps"))
        if not self._options.cloud_models:
            entries = {name: entry for name, entry in entries.items() if not is_cloud(entry)}
        found: dict[str, Mapping[str, Any]] = {}
        limiter = anyio.CapacityLimiter(_ASKED_AT_ONCE)

        async def show(name: str, entry: Mapping[str, Any]) -> None:
            async with limiter:
                found[name] = await self._show(name, str(entry.get("digest", "")))

        async with anyio.create_task_group() as group:
            for name, entry in entries.items():
                group.start_soon(show, name, entry)
        window = self._options.default_context_tokens
        return [
            info_of(entry, found[name], running.get(name), window)
            for name, entry in entries.items()
        ]

    async def _show(self, name: str, digest: str) -> Mapping[str, Any]:
        """`/api/show`, remembered until the model changes: it reads the model's file."""
        if (name, digest) not in self._shown:
            try:
                asked = orjson.dumps({"model": name})
                shown = as_object(await self.upstream.fetch_json("/api/show", body=asked))
            except BackendError:
                return {}
            keep = ("parameters", "model_info", "capabilities")
            self._shown[name, digest] = {key: shown[key] for key in keep if key in shown}
        return self._shown[name, digest]


class Ollama(EndpointPlugin[OllamaOptions]):
    """Registers one Ollama server as a backend."""

    def make_backend(self) -> AnthropicBackend:
        """The server at `base_url`."""
        return OllamaBackend(self.name, self.options)
