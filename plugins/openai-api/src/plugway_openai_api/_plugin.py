"""The plugin: the dialects, the model list, and what depends on who answers in the end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import ClassVar, Final

from pydantic import Field
from starlette.routing import BaseRoute

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    Dialect,
    Exchange,
    Gateway,
    Identity,
    MessagesRequest,
    Options,
    Original,
    Plugin,
    Relays,
    Reply,
    Send,
    StateKey,
    as_object,
    aside,
    client_status,
    hookimpl,
)
from plugway_openai_api._conversation import conversation_of, thread_of
from plugway_openai_api._dialects import ChatDialect, ResponsesDialect
from plugway_openai_api._errors import own_words
from plugway_openai_api._models import ModelRoutes
from plugway_openai_api._sampling import wants_json
from plugway_openai_api._shelves import Shelves
from plugway_openai_api._tidy import is_tidy
from plugway_translation import MediaPolicy, OutputLimits, paired_request

RELAYED: StateKey[str] = StateKey("openai-api.relayed")
"""The target that was sent the client's own bytes last."""
KEPT: Final = frozenset(("retry-after", "retry-after-ms", "x-should-retry"))


class OpenAIApiOptions(Options):
    """Options of `openai-api`."""

    max_tokens: int = Field(default=32_000, ge=1)
    """Most tokens of an answer where the client does not say; less where the model makes less."""
    media: MediaPolicy = "placeholder"
    """What becomes of audio, and of files that only OpenAI has: words in their `placeholder`, or
    `reject` for a 400."""


class OpenAIApi(Plugin[OpenAIApiOptions]):
    """Serves Chat Completions, Responses and OpenAI's model list."""

    outside: ClassVar[tuple[str, ...]] = ("error-normalizer",)  # which would retell an error

    def __init__(self, options: OpenAIApiOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._limits = OutputLimits()
        both = (ChatDialect, ResponsesDialect)
        made = [dialect(options.max_tokens, options.media) for dialect in both]
        self._dialects = {dialect.name: dialect for dialect in made}
        self.shelves = Shelves()
        for dialect in made:
            dialect.shelves = self.shelves

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """What clients refer to outlives a change of the configuration."""
        before = gateway.predecessor
        for _, one in before.find(OpenAIApi) if before else ():
            self.shelves.take_over(one.shelves)
        return nullcontext()

    @hookimpl
    def identify(self, request: MessagesRequest, exchange: Exchange) -> Identity | None:
        """The conversation as Codex, opencode and other clients name it, where no header line of
        the usual kind does; and which of its threads it is."""
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
        """A conversation that servers of the client's own API refuse, because its calls and results
        are not in pairs, is not relayed but put into pairs, where it can be translated."""
        original = request.original
        if original is None or original.dialect not in self._dialects or not original.body:
            return None
        if not _relays(request, attempt):
            return self._as_json(request, original, attempt)
        dialect = self._dialects[original.dialect]
        if is_tidy(original, dialect.said):
            return None
        if not dialect.is_said(original):
            return None
        # Responses knows a call by its id alone (NousResearch/hermes-agent#102629).
        reuse = original.dialect == ChatDialect.name
        return await aside(request.heavy, partial(paired_request, request, reuse=reuse))

    def _as_json(
        self, request: MessagesRequest, original: Original, attempt: Attempt
    ) -> MessagesRequest | None:
        """`json_object` as a schema for servers on this machine or network, which hold a model to
        it by a grammar; beside tools a schema would keep some of them from calls."""
        if not wants_json(original) or attempt.backend.zone != "local":
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
        """What the Messages API cannot say is refused here and not earlier: only now it is known
        whether a server answers that is sent the client's own bytes."""
        original = request.original
        dialect = self._dialects.get(original.dialect) if original else None
        if original is None or dialect is None:
            return await send(request, attempt)
        if _relays(request, attempt):
            exchange.state[RELAYED] = attempt.target
            told = f"`{attempt.target}` receives the prompt as the client wrote it"
            exchange.note(self.name, told, stage="route")
            return await send(request, attempt)
        dialect.check(original)
        if original.made_up:
            request = await self._limits.within(request, attempt, dialect.max_tokens)
        return await send(request, attempt)

    @hookimpl
    def normalize_failure(
        self, failure: BackendError, attempt: Attempt, exchange: Exchange
    ) -> Reply | None:
        """An upstream's own words to a client of its own API; not where its key was refused, which
        is no business of the client."""
        if exchange.state.get(RELAYED) != attempt.target or failure.status in (401, 403):
            return None
        if not isinstance(failure, BackendRefused) or not own_words(failure.body):
            return None
        kept = tuple(line for line in failure.headers if line[0] in KEPT)
        headers = (*kept, ("content-type", "application/json"))
        status = client_status(failure.status)
        return Reply.whole(status, failure.body, headers=headers)


def _relays(request: MessagesRequest, attempt: Attempt) -> bool:
    """Whether the backend sends the client's own bytes on."""
    return isinstance(attempt.backend, Relays) and attempt.backend.relays(request, attempt)
