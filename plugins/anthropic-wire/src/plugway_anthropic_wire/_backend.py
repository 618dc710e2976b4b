"""The backend: sends a Messages request to a server, relays the response, closes it on every path.

Retries and fallbacks are decided by the pipeline and its plugins.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import quote

import orjson

from plugway import (
    REMOVE,
    Attempt,
    BackendError,
    BackendProtocolError,
    BackendRefused,
    Headers,
    MessagesRequest,
    ModelInfo,
    Reply,
    Upstream,
    UpstreamResponse,
    as_object,
    named_entries,
)
from plugway_anthropic_wire._blocks import OrderedBlocks
from plugway_anthropic_wire._characters import JoinedCharacters
from plugway_anthropic_wire._fitting import fitted_to, with_less_output
from plugway_anthropic_wire._grammar import named_tools
from plugway_anthropic_wire._head import with_head
from plugway_anthropic_wire._headers import (
    VERSION,
    open_headers,
    plain_headers,
    replaced,
    translated_headers,
    versioned,
)
from plugway_anthropic_wire._models import entries_of, every_page, model_of
from plugway_anthropic_wire._rejected_media import RejectedMedia
from plugway_anthropic_wire._whole import readable, with_inputs
from plugway_capabilities import NOTHING_KNOWN, Facts, Ledger
from plugway_translation import Media
from plugway_upstream_errors import (
    is_error,
    meaning_of,
    opened,
    quotable,
    retry_after,
    status_in,
)
from plugway_wire.bounds import aside

LISTED_SECONDS: Final = 60.0
"""How long a list of model capabilities is cached."""
MOST_LESSONS: Final = 3
"""How often one request may be adapted to an error and sent again: each error names one fault."""
_MOST_QUOTED: Final = 500
_QUOTED: Final = re.compile(
    r"[^\s\"'`(){}]*(?:\*{2,}|\.{3,}|…|•+)[^\s\"'`(){}]+|[^\s\"'`(){}]+(?:\*{2,}|\.{3,}|…|•+)"
    r"|\b[-\w]{24,}"
)
"""Text that may be part of a key: masked in the middle or at an end, or a long word."""
_UNKNOWN_ROUTE: Final = frozenset((404, 405, 501))
_NOT_COUNTED: Final = (
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
)
"""Fields of a Messages request that `count_tokens` does not accept."""


NO_THINKING: Final[Mapping[str, Any]] = {"chat_template_kwargs": {"enable_thinking": False}}
"""Turns thinking off at servers that pass variables to the model's chat template; templates
without such a variable ignore it."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How to send requests to a server of the Messages API."""

    headers: Literal["open", "plain"] = "plain"
    """`open` forwards a client's headers except hop-by-hop headers, credentials and headers for
    other vendors; `plain` forwards only what the protocol needs."""
    query: bool = False
    """Forward the client's query string."""
    native_errors: bool = False
    """The server's errors are Anthropic's, and are passed to the client unchanged."""
    extra_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    messages_path: str = "/v1/messages"
    models_path: str = "/v1/models"
    answer_seconds: float | None = None
    """Timeout for the response headers, if shorter than the server's."""


class AnthropicBackend:
    """A server of the Messages API. Enter it as a context to open its connections."""

    kind: str = "anthropic-compatible"
    """The kind of server, e.g. `ollama` or `vllm`, for plugins that depend on it."""
    no_thinking: Mapping[str, Any] = {}
    """Fields that turn thinking off; empty if that is the default or not possible."""

    def __init__(self, name: str, zone: str, upstream: Upstream, wire: Wire | None = None) -> None:
        self.name = name
        self.zone = zone
        self.upstream = upstream
        self.wire = wire or Wire()
        self.ledger = None if self.wire.native_errors else Ledger()
        """What the server has rejected; None for Anthropic's own API."""
        self.attempt_lines: Callable[[Attempt], Headers] | None = None
        """Returns further headers for an attempt, such as the id of its conversation."""
        self._media = RejectedMedia()
        self._listed: tuple[float, Mapping[str, frozenset[str]]] = (-LISTED_SECONDS, {})
        """When the models were listed, and their capabilities."""

    @property
    def native(self) -> bool:
        """Whether it is Anthropic's API itself, at whatever URL: its errors show that."""
        return self.wire.native_errors

    @property
    def way(self) -> str:
        """A description of how the server is reached."""
        return self.upstream.way

    async def __aenter__(self) -> AnthropicBackend:
        """Open the connection pool."""
        await self.upstream.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.upstream.__aexit__()

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Return the server's reply, streamed or complete. After an error that teaches something
        new, the request is adapted and sent again.

        Raises:
            BackendError: the server rejects the request, adapted or not.
        """
        if self._media:
            known = await aside(request.heavy, partial(self._media.without, request))
            attempt.note(*(change.because for change in known.changes[len(request.changes) :]))
            request = known
        first = request
        for left in range(MOST_LESSONS, -1, -1):
            response = await self._post(self.wire.messages_path, request, attempt)
            try:
                return await self._reply(response, attempt.model)
            except BackendRefused as failure:
                await response.aclose()
                adapted = await self._adapted(failure, request, attempt) if left else None
                if adapted is None:
                    self._media.forget(failure, first)
                    raise named_tools(failure, request) from None
                request = adapted
            except BaseException:
                await response.aclose()
                raise
        raise AssertionError("the last refusal is raised")

    async def _reply(self, response: UpstreamResponse, model: str) -> Reply:
        """The reply in a response. Raises `BackendError` if it is an error."""
        if response.status >= 400:
            raise await self._refusal(response)
        native, headers = self.wire.native_errors, response.headers
        if response.content_type == "text/event-stream":
            if native:
                return Reply.relay(response.chunks(), headers=headers, close=response.aclose)
            chunks, error = await opened(response.chunks())
            if error:
                raise self.refused(status_in(error, 500), error, headers)
            whole = OrderedBlocks(JoinedCharacters(with_head(chunks, model)))
            return Reply.relay(whole, headers=headers, close=response.aclose, cut_on_error=True)
        body = await response.read()
        body = body if native else readable(body)
        reply = Reply.whole(200, body, headers=headers)
        if response.status != 200 or not isinstance(reply.parsed.get("content"), list):
            if not native and is_error(reply.parsed):
                raise self.refused(status_in(body), body, headers)
            raise self._no_message(response, body)
        message = None if native else with_inputs(reply.parsed)
        return reply if message is None else reply.replace(body=orjson.dumps(message))

    async def _adapted(
        self, failure: BackendError, request: MessagesRequest, attempt: Attempt
    ) -> MessagesRequest | None:
        """Adapt the request to what an error taught; None if there is nothing to adapt."""
        if not isinstance(failure, BackendRefused) or failure.permanent:
            return None
        seen = await aside(request.heavy, partial(self._media.adapted, failure, request))
        if seen is request and self.ledger is None:
            seen = with_less_output(request, failure)
        if seen is not request:
            attempt.note(f"retried after a refusal: {seen.changes[-1].because}")
            return seen
        if self.ledger is None:
            return None
        model, server = attempt.model, self.upstream.base_url
        taught = self.ledger.learn(self.kind, model, failure.status, failure.body, server)
        if not taught:
            return None
        adapted = await aside(request.heavy, partial(fitted_to, request, self.facts(model)))
        if adapted is request:
            return None
        attempt.note(f"retried after a refusal: {'; '.join(taught)}")
        attempt.note(*(f"{c.field}: {c.because}" for c in adapted.changes[len(request.changes) :]))
        return adapted

    def facts(self, model: str) -> Facts:
        """Known facts about a model."""
        if self.ledger is None:
            return NOTHING_KNOWN
        return self.ledger.about(self.kind, model, self.upstream.base_url)

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | Reply | None:
        """The server's own token count; None if it does not count."""
        if "max_tokens" in request.body:
            because = "token counting does not accept it"
            request = request.replace(because=because, **dict.fromkeys(_NOT_COUNTED, REMOVE))
        path = f"{self.wire.messages_path}/count_tokens"
        response = await self._post(path, request, attempt)
        try:
            if response.status in _UNKNOWN_ROUTE and not self.wire.native_errors:
                return None
            if response.status >= 400:
                raise await self._refusal(response)
            body = await response.read()
        finally:
            await response.aclose()
        counted = as_object(_parsed(body)).get("input_tokens")
        if isinstance(counted, int) and counted > 0:
            return Reply.whole(200, body, headers=response.headers)
        return None  # a count of 0 would stop the client from ever compacting

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """The URL and the headers that would be used, for `explain`; values of `extra_headers` are
        hidden, because they may contain credentials."""
        path = self._path(self.wire.messages_path, request)
        hidden = dict.fromkeys(self.wire.extra_headers, "(as configured)")
        return f"{self.upstream.base_url}{path}", replaced(self._lines(request, attempt), hidden)

    async def models(self) -> Sequence[ModelInfo]:
        """All models that the server lists."""
        return [model_of(entry) for entry in await self.listed()]

    async def listed(self) -> list[dict[str, Any]]:
        """The entries of the server's list that have a model name."""
        headers = replaced((VERSION,), self.wire.extra_headers)
        base = self.wire.models_path.partition("?")[0]

        def following(page: Mapping[str, Any]) -> str:
            last = page.get("last_id")
            if page.get("has_more") is not True or not named_entries([{"id": last}]):
                return ""
            return f"{base}?limit=1000&after_id={quote(str(last), safe='')}"

        path = self.wire.models_path
        return await every_page(self.upstream, path, entries_of, following, headers=headers)

    async def sees_images(self, model: str) -> bool | None:
        """Whether a model accepts images, according to the server's list; None if unknown."""
        able = await self._able(model)
        return "images" in able if able else None

    async def thinks(self, model: str) -> bool:
        """Whether a model thinks by default, according to the last list. Never sends a request."""
        known = self._listed[1]
        return "thinking" in (known.get(model) or known.get(f"{model}:latest") or ())

    def remembered(self, infos: Sequence[ModelInfo]) -> Sequence[ModelInfo]:
        """Cache the capabilities of listed models, and return the models."""
        self._listed = time.monotonic(), {info.id: info.capabilities for info in infos}
        return infos

    async def _able(self, model: str) -> frozenset[str]:
        """A model's capabilities according to the server's list; empty if unknown."""
        when, known = self._listed
        if time.monotonic() - when > LISTED_SECONDS:
            try:
                known = {info.id: info.capabilities for info in await self.models()}
            except BackendError:
                known = {}
            self._listed = time.monotonic(), known
        return known.get(model) or known.get(f"{model}:latest") or frozenset()

    # ── hooks for subclasses ─────────────────────────────────────────────────────────────────

    def unfit(self, media: Media) -> str:
        """Why the server does not accept an image or document; empty if it does."""
        return ""

    def credentials(self, attempt: Attempt) -> Mapping[str, str] | None:
        """Credential headers for this attempt; None for the upstream's own."""
        return None

    def refused(self, status: int, body: bytes, headers: Headers) -> BackendError:
        """The error for an error status."""
        refusal = BackendRefused(
            status,
            body,
            headers=headers,
            retry_after=retry_after(headers),
            native=self.wire.native_errors and bool(body),
        )
        return self.key_refused(refusal) if refuses_key(refusal) else refusal

    def key_refused(self, refusal: BackendRefused) -> BackendError:
        """Say where a rejected key is configured: the client does not know the key."""
        return key_refusal(self.name, refusal)

    # ── helpers ──────────────────────────────────────────────────────────────────────────────

    async def _post(
        self, path: str, request: MessagesRequest, attempt: Attempt
    ) -> UpstreamResponse:
        return await self.upstream.request(
            "POST",
            self._path(path, request),
            body=request.raw,
            headers=self._lines(request, attempt),
            credentials=self.credentials(attempt),
            seconds=self.wire.answer_seconds,
        )

    def _path(self, path: str, request: MessagesRequest) -> str:
        return f"{path}?{request.query}" if self.wire.query and request.query else path

    def _lines(self, request: MessagesRequest, attempt: Attempt) -> Headers:
        wire = self.wire
        if request.original is not None:
            lines = translated_headers(request.headers)
        else:
            lines = (open_headers if wire.headers == "open" else plain_headers)(request.headers)
        more = self.attempt_lines(attempt) if self.attempt_lines else ()
        return replaced(versioned(lines), {**wire.extra_headers, **dict(more)})

    async def _refusal(self, response: UpstreamResponse) -> BackendError:
        return self.refused(response.status, await response.refusal(), response.headers)

    def _no_message(self, response: UpstreamResponse, body: bytes) -> BackendError:
        text = BackendRefused(response.status, body).message
        kind = response.content_type or "no content type"
        record = f"it returned {response.status} without a message ({kind})"
        return BackendProtocolError(f"{record}: {text[:300]}", record=record)


def refuses_key(refusal: BackendRefused) -> bool:
    """Whether a server rejects the key; some report that with 400 or 403."""
    status = refusal.status
    return status == 401 or (status in (400, 403) and meaning_of(refusal).kind == "auth")


def key_refusal(backend: str, refusal: BackendRefused) -> BackendRefused:
    """Say where a rejected key is configured, for any backend with an option `api_key`.

    Text in which the server quotes the key, masked or not, is redacted.
    """
    what = (
        f"the server does not accept the key in option `api_key` of `{backend}`, or "
        "requires one and none is set"
    )
    quoted = _QUOTED.sub("[redacted]", quotable(refusal.message, _MOST_QUOTED))
    quoted = quoted.replace("x-api-key", "API key")  # Claude Code: "Not logged in"
    return BackendRefused(
        401,
        refusal.body,
        headers=refusal.headers,
        message=f"{what} ({quoted}). Fix it with `plugway keys` or in the environment "
        "variable named by the option, then restart",
        permanent=True,
        record=what,
    )


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
