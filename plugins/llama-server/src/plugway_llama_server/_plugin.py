"""The plugin: registers one llama-server."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from plugway import Gateway, hookimpl
from plugway_anthropic_wire import (
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    upstream_of,
    zone_of,
)
from plugway_llama_server._backend import LlamaServerBackend
from plugway_llama_server._here import LlamaServerHere
from plugway_local_models.servers import serving


class LlamaServerOptions(EndpointOptions):
    """Options of `llama-server`."""

    base_url: str = "http://127.0.0.1:8080"
    """Address of llama-server, without `/v1`. With a key it must be https, or on this machine."""


class LlamaServer(EndpointPlugin[LlamaServerOptions]):
    """Registers one llama-server as a backend."""

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
        return (LlamaServerHere if here else LlamaServerBackend)(self.name, zone, upstream)
