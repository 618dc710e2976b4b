"""The plugin: registers one LM Studio server."""

from __future__ import annotations

from pydantic import Field

from plugway_anthropic_wire import (
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    upstream_of,
    zone_of,
)
from plugway_lmstudio._backend import LmStudioBackend
from plugway_lmstudio._here import LmStudioHere


class LmStudioOptions(EndpointOptions):
    """Options of `lmstudio`."""

    base_url: str = "http://127.0.0.1:1234"
    """Address of LM Studio's server, without `/v1`. With a key it must be https, or on this
    machine."""
    unloaded_context_tokens: int = Field(default=0, ge=0)
    """Window to state for models that are not loaded yet: the one LM Studio will load them with,
    which it does not report. 0 states the model's maximum."""


class LmStudio(EndpointPlugin[LmStudioOptions]):
    """Registers one LM Studio server as a backend."""

    def make_backend(self) -> AnthropicBackend:
        """The server at `base_url`; one that says what it holds only if it runs on this machine."""
        upstream = upstream_of(self.options)
        zone = zone_of(self.options, upstream)
        here = zone == "local" and upstream.loopback
        backend = (LmStudioHere if here else LmStudioBackend)(self.name, zone, upstream)
        backend.unloaded_context_tokens = self.options.unloaded_context_tokens
        return backend
