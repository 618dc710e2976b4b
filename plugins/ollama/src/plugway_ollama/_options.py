"""Options of `ollama`."""

from __future__ import annotations

from pydantic import Field

from plugway_anthropic_wire import EndpointOptions


class OllamaOptions(EndpointOptions):
    """Options of `ollama`."""

    base_url: str = "http://127.0.0.1:11434"
    """Address of Ollama, without `/v1`. With a key it must be https, or on this machine."""
    default_context_tokens: int = Field(default=4096, ge=256)
    """Window of a model that is not loaded and sets no `num_ctx`: the value of
    `OLLAMA_CONTEXT_LENGTH` on the Ollama server."""
    context_tokens: int | None = Field(default=None, ge=256)
    """Window that models are loaded with, at most a model's maximum. Ollama creates a variant of
    the model for it (`qwen3:8b-ctx65536`), which shares its weights. If unset, the Ollama server
    chooses."""
    cloud_models: bool = False
    """Allow models that Ollama runs on its own machines; the zone is then `ollama-cloud` unless
    set, because prompts may leave this machine."""
