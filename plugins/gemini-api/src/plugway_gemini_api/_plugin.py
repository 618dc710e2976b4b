"""The plugin: dialects, model list, and what depends on the target of an attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from pydantic import Field
from starlette.routing import BaseRoute

from plugway import (
    Attempt,
    BackendError,
    Dialect,
    Exchange,
    Gateway,
    MessagesRequest,
    Options,
    Plugin,
    Reply,
    Send,
    as_object,
    hookimpl,
)
from plugway_gemini_api._dialects import METHODS, GeminiDialect
from plugway_gemini_api._errors import is_google_error
from plugway_gemini_api._fields import named
from plugway_gemini_api._generation import config_of, wants_json
from plugway_gemini_api._models import ModelRoutes
from plugway_translation import MediaPolicy, OutputLimits, RelayedTargets, forces_json, relays

ANY_JSON: Final = {"anyOf": [{"type": "object"}, {"type": "array"}]}


class GeminiApiOptions(Options):
    """Options of `gemini-api`."""

    max_tokens: int = Field(default=32_000, ge=1)
    """Maximum tokens of a reply if the client sets none; lowered to the model's own limit."""
    media: MediaPolicy = "placeholder"
    """How to treat audio, video, and files stored at Google: `placeholder` replaces them with text,
    `reject` returns a 400."""


class GeminiApi(Plugin[GeminiApiOptions]):
    """Serves `generateContent`, `streamGenerateContent`, `countTokens` and Gemini's model list."""

    outside: ClassVar[tuple[str, ...]] = ("error-normalizer",)

    def __init__(self, options: GeminiApiOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._limits = OutputLimits()
        self._relayed = RelayedTargets(self.name)
        made = [GeminiDialect(method, options.max_tokens, options.media) for method in METHODS]
        self._dialects = {dialect.name: dialect for dialect in made}

    @hookimpl
    def register_dialects(self) -> Sequence[Dialect]:
        """A dialect for each method."""
        return list(self._dialects.values())

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """`GET /v1beta/models`, and error responses for the rest of the API."""
        return ModelRoutes(gateway).routes()

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Send JSON without a schema as a schema for any object, or list, where that forces JSON.

        Not with tools: with a schema some servers never call them.
        """
        if relays(request, attempt) or not forces_json(attempt.backend):
            return None
        if not self._wants_json(request):
            return None
        config = as_object(request.get("output_config"))
        if "format" in config or request.get("tools"):
            return None
        schema = ANY_JSON if attempt.backend.zone == "local" else {"type": "object"}
        form = {"type": "json_schema", "schema": schema}
        because = "JSON without a schema must be an object or a list"
        return request.replace(because=because, output_config={**config, "format": form})

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Reject here what the Messages API cannot express, unless the target receives the
        client's bytes unchanged. Lower `max_tokens` to the model's limit if the client set none.
        """
        original = request.original
        dialect = self._dialects.get(original.dialect) if original else None
        if original is None or dialect is None:
            return await send(request, attempt)
        if relays(request, attempt):
            self._relayed.add(attempt, exchange)
            return await send(request, attempt)
        dialect.check(original)
        if original.made_up:
            request = await self._limits.within(request, attempt, dialect.max_tokens)
        return await send(request, attempt)

    @hookimpl
    def normalize_failure(
        self, failure: BackendError, attempt: Attempt, exchange: Exchange
    ) -> Reply | None:
        """Return Google's error unchanged to a client whose bytes Google received, unless it
        rejected the gateway's API key."""
        return self._relayed.error(failure, attempt, exchange, is_google_error)

    def _wants_json(self, request: MessagesRequest) -> bool:
        original = request.original
        if original is None or original.dialect not in self._dialects or not original.body:
            return False
        return wants_json(config_of(named(original.parsed)))
