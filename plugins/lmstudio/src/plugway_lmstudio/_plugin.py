"""The plugin: registers one LM Studio server."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from pydantic import Field

from plugway import Gateway, hookimpl
from plugway_anthropic_wire import (
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    upstream_of,
    zone_of,
)
from plugway_lmstudio._backend import LmStudioBackend
from plugway_lmstudio._here import LmStudioHere
from plugway_local_models.servers import serving


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

    @hookimpl
    def lifespan(  # pyright: ignore[reportIncompatibleMethodOverride]  hooks take what they name
        self, gateway: Gateway
    ) -> AbstractAsyncContextManager[object]:
        """Keep connections open from start to end, and open the socket of `plugway models`."""
        return serving(self.backend, gateway)

    def make_backend(self) -> AnthropicBackend:
        """The server at `base_url`; one that says what it holds only if it runs on this machine."""
        upstream = upstream_of(self.options)
        zone = zone_of(self.options, upstream)
        here = zone == "local" and upstream.loopback
        backend = (LmStudioHere if here else LmStudioBackend)(self.name, zone, upstream)
        backend.unloaded_context_tokens = self.options.unloaded_context_tokens
        return backend
