"""The backend for servers of OpenAI's APIs: translates, sends and reads; closes on every path.

`chat` and `responses` translate; the error-normalizing plugins turn failures into client errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

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
    Original,
    Reply,
    Upstream,
    UpstreamResponse,
    collected,
)
from plugway_anthropic_wire import (
    MOST_LESSONS,
    RawChunks,
    is_unchanged,
    key_refusal,
    named_tools,
    refuses_key,
    retry_after,
    usage_in,
)
from plugway_capabilities import Facts, Ledger, known_facts, lessons
from plugway_openai_wire._api import Api, Call
from plugway_openai_wire._events import (
    EventList,
    TranslatedEvents,
    cuts_a_call,
)
from plugway_openai_wire._failures import answer_in, failure_at_the_start
from plugway_openai_wire._models import models_of
from plugway_openai_wire._relay import adds_limit, client_request, refuses, unbound
from plugway_openai_wire._required_call import RequiredCall
from plugway_signature import PREFIX
from plugway_translation import loses_only
from plugway_upstream_errors import opened
from plugway_wire.bounds import aside, breath

PASSING: Final = ("openai-", "x-codex-")
"""Prefixes of headers that OpenAI's clients read (`openai-processing-ms`, plan usage)."""
_LARGE: Final = 2**18
"""Bytes above which a complete response is read in steps that yield to the event loop."""
_TEACHING: Final = frozenset((400, 404, 422, 500, 502))
"""Statuses of errors that may name an unsupported field."""

_IDS: Final = re.compile(rb'call_id"\s*:\s*"((?:[^"\\]|\\.)*)"')
"""`call_id` or `tool_call_id` in a body; JSON escapes make an id longer, never shorter."""
_MARK: Final = PREFIX.encode()
_MARKS: Final = re.compile(rb'(?:encrypted_content|thought_signature)"\s*:\s*"' + re.escape(_MARK))
"""Plugway's signatures of another server's thinking, sent back by clients."""
_RELAYED_BYTES: Final = 16 * 2**20
"""Size limit of a relayed complete response, which may contain several images."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to reach a server."""

    models_path: str = "/models"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Sent with every request."""
    answer_seconds: float | None = None
    """Timeout for the response headers, if shorter than the server's."""


class OpenAIBackend:
    """A server of one of OpenAI's APIs. Enter it as a context to open its connections."""

    def __init__(
        self,
        name: str,
        zone: str,
        upstream: Upstream,
        api: Api,
        *,
        provider: str = "",
        ledger: Ledger | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        """`provider` is the server's name in the `ledger`; defaults to `name`."""
        self.name = name
        self.zone = zone
        self.upstream = upstream
        upstream.passing = PASSING
        self.api = api
        self.provider = provider or name
        self.ledger = ledger
        self.endpoint = endpoint or Endpoint()
        self.attempt_lines: Callable[[Attempt], Headers] | None = None
        """Returns further headers for an attempt, such as the id of its conversation."""
        self._taught: set[str] = set()
        """Models that rejected a relayed request, with an error that the ledger learned from."""

    @property
    def way(self) -> str:
        """A description of how the server is reached."""
        return self.upstream.way

    async def __aenter__(self) -> OpenAIBackend:
        """Open the connection pool."""
        await self.upstream.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.upstream.__aexit__()

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Return the reply as events, or as the server's bytes if the client uses the same API."""
        if (original := self._original(request, attempt)) is not None:
            return await self._relayed(original, request, attempt)
        call, raw = await self._translated(request, attempt)
        for left in range(MOST_LESSONS, -1, -1):
            try:
                response = await self._post(raw, request, attempt)
                reply = await self._read(response, call, stream=request.stream)
            except BackendRefused as refusal:
                if not left:
                    raise named_tools(refusal, request) from None
                call, raw = await self._adapted(refusal, raw, request, attempt)
            else:
                attempt.note(*call.notes.lines())
                return reply
        raise AssertionError("the last refusal is raised")

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | Reply | None:
        """None: these APIs cannot count tokens."""
        return None

    async def models(self) -> Sequence[ModelInfo]:
        """List the server's models, completed with known facts."""
        lines = tuple(self.endpoint.headers.items())
        listed = await self.upstream.fetch_json(self.endpoint.models_path, headers=lines)
        return models_of(listed, self.facts)

    def translated(self, request: MessagesRequest, attempt: Attempt) -> Mapping[str, Any]:
        """The body that would be sent, for `explain`."""
        if (original := self._original(request, attempt)) is not None:
            return client_request(original, request, attempt).body
        call = self.api.call(request, attempt, self.facts(attempt.model))
        attempt.note(*call.notes.lines())
        return call.body

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """The URL and the headers that would be used, for `explain`."""
        return f"{self.upstream.base_url}{self.api.path}", self._lines(request, attempt)

    def relays(self, request: MessagesRequest, attempt: Attempt) -> bool:
        """Whether the client's bytes would be relayed (`plugway.Relays`)."""
        return self._original(request, attempt) is not None

    def losses(self, request: MessagesRequest, attempt: Attempt) -> Sequence[str]:
        """The losses of the client's request that are losses here too (`plugway.Relays`)."""
        original = request.original
        return self.api.carried(request).losses(original.notes) if original is not None else ()

    def facts(self, model: str) -> Facts:
        """Known facts about a model."""
        if self.ledger is None:
            return known_facts(self.provider, model)
        return self.ledger.about(self.provider, model, self.upstream.base_url)

    # ── hooks for subclasses ─────────────────────────────────────────────────────────────────

    async def credentials(self, attempt: Attempt) -> Mapping[str, str] | None:
        """Credential headers for this attempt; None for the upstream's own."""
        return None

    def lines(self, request: MessagesRequest) -> Headers:
        """The headers of a request, without credentials."""
        accept = "text/event-stream" if request.stream else "application/json"
        return (
            ("content-type", "application/json"),
            ("accept", accept),
            ("user-agent", "plugway"),
            *self.endpoint.headers.items(),
        )

    def refused(self, refusal: BackendRefused) -> BackendError:
        """The error for an error status; for a rejected key it says where that is configured."""
        return key_refusal(self.name, refusal) if refuses_key(refusal) else refusal

    # ── helpers ──────────────────────────────────────────────────────────────────────────────

    def _lines(self, request: MessagesRequest, attempt: Attempt) -> Headers:
        more = self.attempt_lines(attempt) if self.attempt_lines else ()
        return (*self.lines(request), *more)

    async def _post(
        self, body: bytes, request: MessagesRequest, attempt: Attempt
    ) -> UpstreamResponse:
        """The answer to a request. Raises `BackendRefused` for an error status."""
        response = await self.upstream.request(
            "POST",
            self.api.path,
            body=body,
            headers=self._lines(request, attempt),
            credentials=await self.credentials(attempt),
            seconds=self.endpoint.answer_seconds,
        )
        if response.status < 400:
            return response
        body = await response.refusal()
        wait = retry_after(response.headers)
        lines = response.headers
        raise self.refused(BackendRefused(response.status, body, headers=lines, retry_after=wait))

    async def _translated(self, request: MessagesRequest, attempt: Attempt) -> tuple[Call, bytes]:
        """Return the translated request and its bytes."""
        facts = self.facts(attempt.model)

        def write() -> tuple[Call, bytes]:
            call = self.api.call(request, attempt, facts)
            return call, orjson.dumps(call.body)

        return await aside(request.heavy, write)

    async def _adapted(
        self, refusal: BackendRefused, sent: bytes, request: MessagesRequest, attempt: Attempt
    ) -> tuple[Call, bytes]:
        """Translate again with what the error taught; raise the error if nothing changed."""
        if not (taught := self._learn(refusal, attempt)):
            raise named_tools(refusal, request)
        call, raw = await self._translated(request, attempt)
        if raw == sent:
            raise named_tools(refusal, request)
        attempt.note(f"retried after a refusal: {'; '.join(taught)}")
        return call, raw

    def _learn(self, refusal: BackendRefused, attempt: Attempt) -> tuple[str, ...]:
        """Learn from an error; return descriptions of what was learned."""
        if self.ledger is None or refusal.status not in _TEACHING:
            return ()
        error = (refusal.status, refusal.body, self.upstream.base_url)
        return self.ledger.learn(self.provider, attempt.model, *error)

    async def _read(self, response: UpstreamResponse, call: Call, *, stream: bool) -> Reply:
        try:
            if response.content_type == "text/event-stream":
                chunks, error = await opened(response.chunks())
                if error:
                    raise self.refused(failure_at_the_start(error, response.headers, call))
                events = TranslatedEvents(chunks, call.reader())
                return Reply.streamed(events, headers=_kept(response), close=response.aclose)
            body = await response.read()
        except BaseException:
            await response.aclose()
            raise
        await response.aclose()
        large = len(body) > _LARGE
        await breath(large)
        events = call.reader().whole(self._answer_in(response, body))
        await breath(large)
        if not stream and not cuts_a_call(events):
            # Plugins that repair event streams handle arguments that are not JSON.
            with suppress(BackendProtocolError):
                message = collected(events)
                return Reply.message(message, headers=_kept(response))
        return Reply.streamed(EventList(events), headers=_kept(response))

    def _answer_in(self, response: UpstreamResponse, body: bytes) -> dict[str, Any]:
        """The parsed response; an error with status 200 means what it does with another status."""
        try:
            return answer_in(response, body)
        except BackendRefused as refusal:
            raise self.refused(refusal) from None

    # ── relaying for clients of the same API ─────────────────────────────────────────────────

    def _original(self, request: MessagesRequest, attempt: Attempt) -> Original | None:
        """Return the client's bytes if they can be relayed, else None.

        They can if the client uses the server's API and no plugin changed more than the model's
        name and the output limit. Content that only a gateway understands, or that the server is
        known to reject, is translated instead.
        """
        original = request.original
        if original is None or original.dialect != self.api.dialect:
            return None
        if not is_unchanged(original, request) or adds_limit(original, request):
            return None  # which only a translation can carry
        if attempt.target not in original.verdicts:
            original.verdicts[attempt.target] = self._accepts(original, attempt.model)
        return original if original.verdicts[attempt.target] else None

    def _accepts(self, original: Original, model: str) -> bool:
        if _MARK in original.body and _MARKS.search(original.body):
            return False
        facts = self.facts(model)  # looked up once: the costliest step
        if model in self._taught and refuses(facts, original):
            return False
        return self.api.accepts_original(original, facts) and self._accepts_ids(original, facts)

    def _accepts_ids(self, original: Original, facts: Facts) -> bool:
        """Whether the server accepts the call ids, checked without decoding the request."""
        ids = self.api.ids(facts)
        named = set(_IDS.findall(original.body)) if ids else set[bytes]()
        decoded = (name.decode("utf-8", "replace") for name in named)
        return ids is None or all(ids.out(id_) == id_ for id_ in decoded)

    async def _relayed(
        self, original: Original, request: MessagesRequest, attempt: Attempt
    ) -> Reply:
        """Relay the client's bytes; translate the response if its form is not the requested one."""
        sent = client_request(original, request, attempt)
        required = RequiredCall.of(original)
        try:
            response = await self._post(sent.raw, request, attempt)
        except BackendRefused as refusal:
            again = unbound(sent, refusal)
            if again is None:
                return await self._send_translated(refusal, original, request, attempt)
            attempt.note(f"retried after a refusal: {again.changes[-1].because}")
            response = await self._post(again.raw, request, attempt)
        missing = required.missing if required else None
        rewriter = self.api.rewriter(attempt.note)
        streamed = response.content_type == "text/event-stream"
        if streamed is not request.stream:
            call, _ = await self._translated(request, attempt)
            return await self._read(response, call, stream=request.stream)
        try:
            if streamed:
                chunks, error = await opened(response.chunks(), first=True)
                if error:
                    raise self.refused(failure_at_the_start(error, response.headers))
                raw = RawChunks(chunks, self.api, required, rewriter)
                reply = Reply.relay(raw, headers=response.headers, close=response.aclose)
                return reply.replace(dialect=original.dialect, usage=raw.usage, missing=missing)
            body = await response.read(_RELAYED_BYTES)
            _ = self._answer_in(response, body)
        except BackendRefused as refusal:
            await response.aclose()
            return await self._send_translated(refusal, original, request, attempt)
        except BaseException:
            await response.aclose()
            raise
        await response.aclose()
        body = body if rewriter is None else rewriter.whole(body)
        reply = Reply.whole(200, body, headers=response.headers)
        if required is not None:
            required.feed(body)
        usage = partial(usage_in, body, self.api)
        return reply.replace(dialect=original.dialect, usage=usage, missing=missing)

    async def _send_translated(
        self,
        refusal: BackendRefused,
        original: Original,
        request: MessagesRequest,
        attempt: Attempt,
    ) -> Reply:
        """Send the request translated, after the server rejected the client's bytes.

        Raises `refusal` if nothing can be learned from it, or if translation would lose more.
        """
        model = attempt.model
        if self.ledger is None or not lessons(refusal.status, refusal.body):
            raise refusal
        taught = self._learn(refusal, attempt)
        losses = self.losses(request, attempt)
        if not loses_only(losses, self.facts(model).rejected_fields):
            raise refusal
        self._taught.add(model)
        if "max_tokens" in original.made_up:
            request = request.replace(max_tokens=REMOVE, because="the client gave none")
        call, raw = await self._translated(request, attempt)
        lesson = f": {'; '.join(taught)}" if taught else ""
        attempt.note(f"translated and retried after a refusal{lesson}")
        attempt.note(*losses)
        response = await self._post(raw, request, attempt)
        attempt.note(*call.notes.lines())
        return await self._read(response, call, stream=request.stream)


def _kept(response: UpstreamResponse) -> Headers:
    """Headers that are meaningful to a client of the Messages API."""
    return tuple(line for line in response.headers if line[0].startswith("x-ratelimit-"))
