"""The plugin: registers one Ollama server, and adapts requests to what Ollama ignores."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from plugway import Attempt, Exchange, Gateway, MessagesRequest, as_object, hookimpl
from plugway_anthropic_wire import AnthropicBackend, EndpointPlugin
from plugway_local_models.servers import serving
from plugway_ollama._backend import OllamaBackend
from plugway_ollama._choice import chosen
from plugway_ollama._here import OllamaHere
from plugway_ollama._options import OllamaOptions

PARALLEL = "Ollama ignores `disable_parallel_tool_use`: a reply may have several calls"


class Ollama(EndpointPlugin[OllamaOptions]):
    """Registers one Ollama server as a backend."""

    @hookimpl
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """The request as Ollama accepts it; `tool_choice` is applied by offering fewer tools.

        Ollama parses `tool_choice` and does not use it (`FromMessagesRequest` of its
        `anthropic/anthropic.go`). Whether the model calls a tool is up to it; `tool-repair` asks
        again if it does not.
        """
        prepared = await super().prepare_attempt(request, attempt, exchange)
        if attempt.backend is not self.backend:
            return prepared
        prepared = chosen(prepared or request)
        choice = as_object(prepared.get("tool_choice"))
        if choice.get("disable_parallel_tool_use") is True:
            exchange.note(self.name, PARALLEL, stage="prepare_attempt")
        return prepared

    @hookimpl
    def lifespan(  # pyright: ignore[reportIncompatibleMethodOverride]  hooks take what they name
        self, gateway: Gateway
    ) -> AbstractAsyncContextManager[object]:
        """Keep connections open from start to end, and open the socket of `plugway models`."""
        return serving(self.backend, gateway)

    def make_backend(self) -> AnthropicBackend:
        """The server at `base_url`; one that says what it holds only if it runs on this machine."""
        backend = OllamaBackend(self.name, self.options)
        if backend.zone == "local" and backend.upstream.loopback:
            return OllamaHere(self.name, self.options)
        return backend
