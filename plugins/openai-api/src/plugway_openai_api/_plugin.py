"""The plugin: dialects, model list, and what depends on the target of an attempt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import ClassVar

from pydantic import Field
from starlette.routing import BaseRoute

from plugway import (
    Attempt,
    BackendError,
    Dialect,
    Exchange,
    Gateway,
    Identity,
    MessagesRequest,
    Options,
    Original,
    Plugin,
    Reply,
    Send,
    as_object,
    hookimpl,
)
from plugway_openai_api._call_pairs import calls_are_paired
from plugway_openai_api._conversation import conversation_of, thread_of
from plugway_openai_api._dialects import ChatDialect, ResponsesDialect
from plugway_openai_api._errors import is_openai_error
from plugway_openai_api._item_store import ItemStores
from plugway_openai_api._models import ModelRoutes
from plugway_openai_api._sampling import wants_json
from plugway_translation import (
    MediaPolicy,
    OutputLimits,
    RelayedTargets,
    forces_json,
    is_translatable,
    paired_request,
    relays,
)
from plugway_wire.bounds import aside


class OpenAIApiOptions(Options):
    """Options of `openai-api`."""

    max_tokens: int = Field(default=32_000, ge=1)
    """Maximum tokens of a reply if the client sets none; lowered to the model's own limit."""
    media: MediaPolicy = "placeholder"
    """How to treat audio, and files stored at OpenAI: `placeholder` replaces them with text,
    `reject` returns a 400."""


class OpenAIApi(Plugin[OpenAIApiOptions]):
    """Serves Chat Completions, Responses and OpenAI's model list."""

    outside: ClassVar[tuple[str, ...]] = ("error-normalizer",)  # which would reword an error

    def __init__(self, options: OpenAIApiOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._limits = OutputLimits()
        self._relayed = RelayedTargets(self.name)
        both = (ChatDialect, ResponsesDialect)
        made = [dialect(options.max_tokens, options.media) for dialect in both]
        self._dialects = {dialect.name: dialect for dialect in made}
        self.stores = ItemStores()
        for dialect in made:
            dialect.stores = self.stores

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """Keep stored items across reloads of the configuration."""
        before = gateway.predecessor
        for _, one in before.find(OpenAIApi) if before else ():
            self.stores.take_over(one.stores)
        return nullcontext()

    @hookimpl
    def identify(self, request: MessagesRequest, exchange: Exchange) -> Identity | None:
        """The conversation and the thread as named by Codex, opencode and other clients, if no
        common header names them."""
        return thread_of(request) if exchange.session_id else conversation_of(request)

    @hookimpl
    def register_dialects(self) -> Sequence[Dialect]:
        """Chat Completions and Responses."""
        return list(self._dialects.values())

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """`GET /v1/models`, for clients of OpenAI's API."""
        return ModelRoutes(gateway).routes()

    @hookimpl
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Translate instead of relaying if calls and results do not pair up.

        Servers of the client's API reject such a conversation; translation repairs the pairs.
        """
        original = request.original
        if original is None or original.dialect not in self._dialects or not original.body:
            return None
        if not relays(request, attempt):
            return self._as_json(request, original, attempt)
        dialect = self._dialects[original.dialect]
        if calls_are_paired(original, dialect.conversation_field):
            return None
        if not is_translatable(original):
            return None
        # Responses identifies a call by its id alone (NousResearch/hermes-agent#102629).
        reuse = original.dialect == ChatDialect.name
        return await aside(request.heavy, partial(paired_request, request, reuse=reuse))

    def _as_json(
        self, request: MessagesRequest, original: Original, attempt: Attempt
    ) -> MessagesRequest | None:
        """Send `json_object` as a schema where that forces JSON.

        Not with tools: with a schema some servers never call them.
        """
        if not wants_json(original) or not forces_json(attempt.backend):
            return None
        config = as_object(request.get("output_config"))
        if "format" in config or request.get("tools"):
            return None
        form = {"type": "json_schema", "schema": {"type": "object"}}
        because = "`json_object` allows any JSON object, but no prose"
        return request.replace(because=because, output_config={**config, "format": form})

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Reject here what the Messages API cannot express.

        Only now is it known whether the target receives the client's bytes unchanged.
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
        """Return an OpenAI upstream's error unchanged, unless it rejected the gateway's API key."""
        return self._relayed.error(failure, attempt, exchange, is_openai_error)
