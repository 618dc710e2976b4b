"""The backend for servers of OpenAI's APIs: translates, sends, reads, and closes on every path.

What the words mean is the business of `chat` and `responses`; what a failure means to the client,
of the plugins that normalise errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
    aside,
    breath,
    collected,
)
from plugway_anthropic_wire import (
    MOST_LESSONS,
    key_refusal,
    named_tools,
    refuses_key,
    retry_after,
)
from plugway_capabilities import Facts, Ledger, known_facts, lessons
from plugway_openai_wire._api import Api, Call
from plugway_openai_wire._demand import Demand
from plugway_openai_wire._events import (
    MadeEvents,
    RawChunks,
    TranslatedEvents,
    cuts_a_call,
    usage_in,
)
from plugway_openai_wire._failures import answer_in, failure_at_the_start
from plugway_openai_wire._models import models_of
from plugway_openai_wire._relay import can_be_told, own_request, refuses
from plugway_signature import PREFIX
from plugway_upstream_errors import opened

PASSING: Final = ("openai-", "x-codex-")
"""Prefixes of header lines that OpenAI's clients read (`openai-processing-ms`, usage of a plan)."""
_LARGE: Final = 2**18
"""Bytes of a whole answer that is read in steps, between which the loop goes on."""
_TEACHING: Final = frozenset((400, 404, 422, 500, 502))
"""Statuses of refusals that may speak of a field."""

_IDS: Final = re.compile(rb'call_id"\s*:\s*"((?:[^"\\]|\\.)*)"')
"""`call_id` or `tool_call_id` as it stands in a body; escapes make one longer, never shorter."""
_MARK: Final = PREFIX.encode()
_MARKS: Final = re.compile(rb'(?:encrypted_content|thought_signature)"\s*:\s*"' + re.escape(_MARK))
"""What a gateway has signed of another server's thinking, where clients give it back."""
_RELAYED_BYTES: Final = 16 * 2**20
"""Largest whole answer that is handed on as it came: it may hold several images."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is spoken to."""

    models_path: str = "/models"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to every request."""
    answer_seconds: float | None = None
    """Limit on the wait for the head of an answer, where it should be shorter than the server's."""


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
        """`provider` is the name under which the table of `ledger` knows the server; the backend's
        otherwise."""
        self.name = name
        self.zone = zone
        self.upstream = upstream
        upstream.passing = PASSING
        self.api = api
        self.provider = provider or name
        self.ledger = ledger
        self.endpoint = endpoint or Endpoint()
        self._taught: set[str] = set()
        """Models that refused a request in the client's own bytes, and taught by it."""

    @property
    def way(self) -> str:
        """How the server is reached, in words."""
        return self.upstream.way

    async def __aenter__(self) -> OpenAIBackend:
        """Open the pool of connections."""
        await self.upstream.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.upstream.__aexit__()

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The server's answer as events, or as it is where the client speaks the same API."""
        if (original := self._original(request, attempt)) is not None:
            return await self._relayed(original, request, attempt)
        call, raw = await self._written(request, attempt)
        for left in range(MOST_LESSONS, -1, -1):
            try:
                response = await self._post(raw, request, attempt)
                reply = await self._read(response, call, stream=request.stream)
            except BackendRefused as refusal:
                if not left:
                    raise named_tools(refusal, request) from None
                call, raw = await self._learnt(refusal, raw, request, attempt)
            else:
                attempt.note(*call.notes.lines())
                return reply
        raise AssertionError("the last refusal is raised")

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | Reply | None:
        """None: these APIs do not count."""
        return None

    async def models(self) -> Sequence[ModelInfo]:
        """What the server lists, with what is known of each model where it does not say."""
        lines = tuple(self.endpoint.headers.items())
        listed = await self.upstream.fetch_json(self.endpoint.models_path, headers=lines)
        return models_of(listed, self.facts)

    def translated(self, request: MessagesRequest, attempt: Attempt) -> Mapping[str, Any]:
        """The body as it would be sent, for `explain`."""
        if (original := self._original(request, attempt)) is not None:
            return own_request(original, request, attempt).body
        call = self.api.call(request, attempt, self.facts(attempt.model))
        attempt.note(*call.notes.lines())
        return call.body

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """Where a request would be sent, and under which lines, for `explain`."""
        return f"{self.upstream.base_url}{self.api.path}", self.lines(request)

    def relays(self, request: MessagesRequest, attempt: Attempt) -> bool:
        """Whether the client's own bytes would be sent (`plugway.Relays`)."""
        return self._original(request, attempt) is not None

    def facts(self, model: str) -> Facts:
        """What is known of a model."""
        if self.ledger is None:
            return known_facts(self.provider, model)
        return self.ledger.about(self.provider, model, self.upstream.base_url)

    # ── what a server's own backend may refine ───────────────────────────────────────────────

    async def credentials(self, attempt: Attempt) -> Mapping[str, str] | None:
        """Credential lines for this attempt; None for those of the upstream."""
        return None

    def lines(self, request: MessagesRequest) -> Headers:
        """The header lines of a request, without credentials."""
        accept = "text/event-stream" if request.stream else "application/json"
        return (
            ("content-type", "application/json"),
            ("accept", accept),
            ("user-agent", "plugway"),
            *self.endpoint.headers.items(),
        )

    def refused(self, refusal: BackendRefused) -> BackendError:
        """The failure that an error status stands for. A refused key is told by its place."""
        return key_refusal(self.name, refusal) if refuses_key(refusal) else refusal

    # ── helpers ──────────────────────────────────────────────────────────────────────────────

    async def _post(
        self, body: bytes, request: MessagesRequest, attempt: Attempt
    ) -> UpstreamResponse:
        """The answer to a request. Raises `BackendRefused` for an error status."""
        response = await self.upstream.request(
            "POST",
            self.api.path,
            body=body,
            headers=self.lines(request),
            credentials=await self.credentials(attempt),
            seconds=self.endpoint.answer_seconds,
        )
        if response.status < 400:
            return response
        told = await response.refusal()
        wait = retry_after(response.headers)
        lines = response.headers
        raise self.refused(BackendRefused(response.status, told, headers=lines, retry_after=wait))

    async def _written(self, request: MessagesRequest, attempt: Attempt) -> tuple[Call, bytes]:
        """The request as the server has it, and its bytes."""
        facts = self.facts(attempt.model)

        def write() -> tuple[Call, bytes]:
            call = self.api.call(request, attempt, facts)
            return call, orjson.dumps(call.body)

        return await aside(request.heavy, write)

    async def _learnt(
        self, refusal: BackendRefused, sent: bytes, request: MessagesRequest, attempt: Attempt
    ) -> tuple[Call, bytes]:
        """The request once more, adapted to what the refusal taught; the refusal where nothing."""
        if not (taught := self._learn(refusal, attempt)):
            raise named_tools(refusal, request)
        call, raw = await self._written(request, attempt)
        if raw == sent:
            raise named_tools(refusal, request)
        attempt.note(f"retried after a refusal: {'; '.join(taught)}")
        return call, raw

    def _learn(self, refusal: BackendRefused, attempt: Attempt) -> tuple[str, ...]:
        """What a refusal taught, in words."""
        if self.ledger is None or refusal.status not in _TEACHING:
            return ()
        told = (refusal.status, refusal.body, self.upstream.base_url)
        return self.ledger.learn(self.provider, attempt.model, *told)

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
        events = call.reader().whole(answer_in(response, body))
        await breath(large)
        if not stream and not cuts_a_call(events):
            # Arguments that are no JSON are for the plugins that mend streams of events.
            with suppress(BackendProtocolError):
                message = collected(events)
                return Reply.message(message, headers=_kept(response))
        return Reply.streamed(MadeEvents(events), headers=_kept(response))

    # ── a client that speaks the server's own API ────────────────────────────────────────────

    def _original(self, request: MessagesRequest, attempt: Attempt) -> Original | None:
        """The client's own bytes, where the server understands them and nobody changed a thing that
        the client wrote, but for the model's name and the limit of the answer. What only a
        gateway understands is translated, as is what the server is known to refuse."""
        original = request.original
        if original is None or original.dialect != self.api.dialect:
            return None
        changed = {change.field for change in request.changes} - {"model", "max_tokens"}
        if changed and not changed <= original.made_up:
            return None
        if attempt.target not in original.verdicts:
            original.verdicts[attempt.target] = self._takes(original, attempt.model)
        return original if original.verdicts[attempt.target] else None

    def _takes(self, original: Original, model: str) -> bool:
        if _MARK in original.body and _MARKS.search(original.body):
            return False
        facts = self.facts(model)  # found once: that costs more than all the rest
        if model in self._taught and refuses(facts, original):
            return False
        return self.api.takes_own(original, facts) and self._takes_ids(original, facts)

    def _takes_ids(self, original: Original, facts: Facts) -> bool:
        """Whether it takes the ids that results name, seen without decoding the request."""
        ids = self.api.ids(facts)
        named = set(_IDS.findall(original.body)) if ids else set[bytes]()
        told = (name.decode("utf-8", "replace") for name in named)
        return ids is None or all(ids.out(id_) == id_ for id_ in told)

    async def _relayed(
        self, original: Original, request: MessagesRequest, attempt: Attempt
    ) -> Reply:
        """The answer to the client's own bytes, as it is where it is what the client asked for."""
        sent = own_request(original, request, attempt)
        demand = Demand.of(original)
        try:
            response = await self._post(sent.raw, request, attempt)
        except BackendRefused as refusal:
            return await self._retold(refusal, original, request, attempt)
        missing = demand.missing if demand else None
        streamed = response.content_type == "text/event-stream"
        if streamed is not request.stream:
            call, _ = await self._written(request, attempt)
            return await self._read(response, call, stream=request.stream)
        try:
            if streamed:
                chunks, error = await opened(response.chunks(), first=True)
                if error:
                    raise self.refused(failure_at_the_start(error, response.headers))
                raw = RawChunks(chunks, self.api, demand)
                reply = Reply.relay(raw, headers=response.headers, close=response.aclose)
                return reply.replace(dialect=original.dialect, usage=raw.usage, missing=missing)
            body = await response.read(_RELAYED_BYTES)
            _ = answer_in(response, body)
        except BackendRefused as refusal:
            await response.aclose()
            return await self._retold(refusal, original, request, attempt)
        except BaseException:
            await response.aclose()
            raise
        await response.aclose()
        reply = Reply.whole(200, body, headers=response.headers)
        if demand is not None:
            demand.feed(body)
        told = partial(usage_in, body, self.api)
        return reply.replace(dialect=original.dialect, usage=told, missing=missing)

    async def _retold(
        self,
        refusal: BackendRefused,
        original: Original,
        request: MessagesRequest,
        attempt: Attempt,
    ) -> Reply:
        """The answer to the same request, translated: what the refusal of the client's own bytes
        teaches is heeded there. The refusal, where it teaches nothing or more would be lost."""
        model = attempt.model
        if self.ledger is None or not lessons(refusal.status, refusal.body):
            raise refusal
        taught = self._learn(refusal, attempt)
        if not can_be_told(original, self.facts(model)):
            raise refusal
        self._taught.add(model)
        if "max_tokens" in original.made_up:
            request = request.replace(max_tokens=REMOVE, because="the client gave none")
        call, raw = await self._written(request, attempt)
        lesson = f": {'; '.join(taught)}" if taught else ""
        attempt.note(f"asked again, translated, after a refusal that taught{lesson}")
        attempt.note(*original.notes)
        response = await self._post(raw, request, attempt)
        attempt.note(*call.notes.lines())
        return await self._read(response, call, stream=request.stream)


def _kept(response: UpstreamResponse) -> Headers:
    """Header lines that say something to a client of the Messages API."""
    return tuple(line for line in response.headers if line[0].startswith("x-ratelimit-"))
