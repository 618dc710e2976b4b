"""The backend: sends a request to the Gemini API and reads the response.

A request that fails with an informative error is adapted and retried once, before anything was sent
to the client. The plugin `resilience` handles all other retries.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import orjson

from plugway import (
    Attempt,
    BackendProtocolError,
    BackendRefused,
    Headers,
    MessagesRequest,
    ModelInfo,
    Original,
    Reply,
    StreamEvent,
    Upstream,
    UpstreamResponse,
    as_object,
    collected,
    new_id,
)
from plugway_anthropic_wire import MAX_CURSOR, RawChunks, every_page, key_refusal, refuses_key
from plugway_capabilities import Ledger
from plugway_embeddings import AT_ONCE, Embedded, Vector, Wanted, texts_of
from plugway_gemini._embeddings import batch_of, vectors_in
from plugway_gemini._models import Target, entries_of, models_in, resource
from plugway_gemini._reader import Reader
from plugway_gemini._relay import (
    GeminiReplies,
    client_request,
    is_better_translated,
    is_relayable,
    rejects_signatures,
)
from plugway_gemini._request import Translation, method_of, safety_settings, translate
from plugway_gemini._stream import GeminiStream, answer_in, read_whole
from plugway_translation import MediaPolicy, Reasoning, count
from plugway_upstream_errors import meaning_of, opened, status_in
from plugway_wire.bounds import aside, breath

PROVIDER: Final = "gemini"
"""The provider's name in the ledger."""
_LINES: Final[Headers] = (("content-type", "application/json"),)
_REPLIES: Final = GeminiReplies()
_LARGE: Final = 2**18
"""Bytes above which a complete reply is read in steps that yield to the event loop."""
_RELAYED_BYTES: Final = 32 * 2**20
"""Size limit of a relayed complete reply, which may contain several images."""

_log = logging.getLogger("plugway.gemini")


class GeminiBackend:
    """A Gemini API endpoint. Enter it as a context to open its connections."""

    makes_any_json = True
    """`responseMimeType` needs no schema (`MakesJson`)."""

    def __init__(
        self,
        name: str,
        zone: str,
        upstream: Upstream,
        ledger: Ledger,
        *,
        version: str = "v1beta",
        media: MediaPolicy = "placeholder",
        safety: str = "",
    ) -> None:
        """`version` is the API's version; `safety` is a threshold for all harm categories."""
        self.name = name
        self.zone = zone
        self.upstream = upstream
        self._ledger = ledger
        self._version = version
        self._media: MediaPolicy = media
        self._safety = safety

    @property
    def way(self) -> str:
        """A description of how the server is reached."""
        return self.upstream.way

    async def __aenter__(self) -> GeminiBackend:
        """Open the connection pool."""
        await self.upstream.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.upstream.__aexit__()

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Return the reply, streaming or complete as the client requested."""
        if (original := self._original(request, attempt)) is not None:
            relayed = await self._relayed(original, request, attempt)
            if relayed is not None:
                return relayed
        if request.body.get("max_tokens") == 0:
            return await self._nothing(request, attempt)
        asked = await self._start(request, attempt)
        reader = Reader(asked.translation, asked.target, request.model)

        async def again() -> UpstreamResponse:
            _log.info("`%s` returned an empty reply; retried with simpler tools", attempt.target)
            attempt.note("retried with simpler tools: the reply was empty")
            return await self._simpler(request, attempt, asked, reader)

        if request.stream:
            return Reply.streamed(GeminiStream(asked.response, reader, again))
        events = await read_whole(asked.response, reader)
        if reader.useless:
            events += await read_whole(await again(), reader)
        events += reader.end()
        # Plugins that repair event streams handle arguments that are not an object.
        with suppress(BackendProtocolError):
            return Reply.message(collected(events))
        return Reply.streamed(_each(events))

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | Reply | None:
        """Gemini's own token count; with its other fields for a client that uses Gemini's API."""
        original = self._original(request, attempt)
        if original is not None:
            raw = self._sent(original, request, attempt).raw
        else:
            work = partial(self._translated, request, attempt, self._target(attempt))
            whole = (await aside(request.heavy, work)).body
            asked = {"model": resource(attempt.model), **whole}
            raw = orjson.dumps({"generateContentRequest": asked})
        response = await self._post("countTokens", attempt, raw)
        try:
            if response.status >= 400:
                raise await self._refusal(response)
            counted = as_object(_parsed(await response.read()))
        finally:
            await response.aclose()
        tokens = count(counted.get("totalTokens")) or None
        if original is None or tokens is None:
            return tokens
        return Reply.message({**counted, "input_tokens": tokens})

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """Embed in batches (`Embeds`); Google does not report tokens."""
        texts, found = texts_of(wanted.inputs), list[Vector]()
        for at in range(0, len(texts), AT_ONCE):
            asked = texts[at : at + AT_ONCE]
            body = batch_of(wanted, asked, attempt.model)
            response = await self._post("batchEmbedContents", attempt, orjson.dumps(body))
            try:
                if response.status >= 400:
                    raise await self._refusal(response)
                found += vectors_in(await response.read(), len(asked))
            finally:
                await response.aclose()
        return Embedded(tuple(found))

    async def models(self) -> Sequence[ModelInfo]:
        """The text models, with Google's limits."""
        path = f"/{self._version}/models?pageSize=1000"

        def following(page: Mapping[str, Any]) -> str:
            token = page.get("nextPageToken")
            if not isinstance(token, str) or not 0 < len(token) <= MAX_CURSOR:
                return ""
            return f"{path}&pageToken={quote(token, safe='')}"

        listed = await every_page(self.upstream, path, entries_of, following, key="name")
        return models_in(listed)

    def translated(self, request: MessagesRequest, attempt: Attempt) -> Mapping[str, Any]:
        """The body that would be sent, for `explain`."""
        if (original := self._original(request, attempt)) is not None:
            return self._sent(original, request, attempt).body
        return self._translated(request, attempt, self._target(attempt)).body

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """The URL and the headers that would be used, for `explain`."""
        return f"{self.upstream.base_url}{self._path(method_of(request), attempt)}", _LINES

    def relays(self, request: MessagesRequest, attempt: Attempt) -> bool:
        """Whether the client's bytes would be relayed (`plugway.Relays`)."""
        return self._original(request, attempt) is not None

    def losses(self, request: MessagesRequest, attempt: Attempt) -> Sequence[str]:
        """All losses of the client's request (`plugway.Relays`)."""
        return request.original.notes if request.original is not None else ()

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    async def _start(self, request: MessagesRequest, attempt: Attempt) -> _Started:
        """Send the request until the response head; after an informative error retry once."""
        target = self._target(attempt)
        work = partial(self._translated, request, attempt, target)
        translation = await aside(request.heavy, work)
        response = await self._generate(request, attempt, translation)
        if response.status >= 400:
            failure = await self._refusal(response)
            work = partial(self._adapted, request, attempt, translation, failure)
            target, better = await aside(request.heavy, work)
            if better is None:
                raise failure
            translation = better
            response = await self._generate(request, attempt, translation)
            if response.status >= 400:
                raise await self._refusal(response)
        return _Started(target, translation, response)

    async def _simpler(
        self, request: MessagesRequest, attempt: Attempt, started: _Started, reader: Reader
    ) -> UpstreamResponse:
        """Send the same request with simpler tool descriptions."""
        signatures = started.translation.signatures
        work = partial(translate, request.body, started.target, simple=True, signatures=signatures)
        translation = await aside(request.heavy, work)
        response = await self._generate(request, attempt, translation)
        if response.status >= 400:
            raise await self._refusal(response)
        reader.again(translation)
        return response

    def _adapted(
        self,
        request: MessagesRequest,
        attempt: Attempt,
        before: Translation,
        failure: BackendRefused,
    ) -> tuple[Target, Translation | None]:
        """A request that avoids what the error reports; None if there is none."""
        learnt = self._learn(failure, attempt)
        attempt.note(*(f"learned from an error: {what}" for what in learnt))
        target = self._target(attempt)
        signatures = not rejects_signatures(failure)
        if not learnt and signatures:
            return target, None
        if not signatures:
            attempt.note("thought signatures were rejected; retried with Google's bypass")
        after = self._translated(request, attempt, target, signatures=signatures, note=False)
        return target, after if after.body != before.body else None

    def _learn(self, failure: BackendRefused, attempt: Attempt) -> tuple[str, ...]:
        """Learn from an error; return descriptions of what was learned."""
        error = (failure.status, failure.body, self.upstream.base_url)
        return self._ledger.learn(PROVIDER, attempt.model, *error)

    def _target(self, attempt: Attempt) -> Target:
        return Target(
            attempt.model,
            Reasoning.of(self.name, attempt.model),
            self._ledger.about(PROVIDER, attempt.model, self.upstream.base_url),
            self._media,
            self._safety,
        )

    def _translated(
        self,
        request: MessagesRequest,
        attempt: Attempt,
        target: Target,
        *,
        signatures: bool = True,
        note: bool = True,
    ) -> Translation:
        made = translate(request.body, target, signatures=signatures)
        if note:
            attempt.note(*made.notes.lines())
        return made

    async def _generate(
        self, request: MessagesRequest, attempt: Attempt, translation: Translation
    ) -> UpstreamResponse:
        return await self._post(method_of(request), attempt, orjson.dumps(translation.body))

    async def _post(self, method: str, attempt: Attempt, body: bytes) -> UpstreamResponse:
        path = self._path(method, attempt)
        return await self.upstream.request("POST", path, body=body, headers=_LINES)

    def _path(self, method: str, attempt: Attempt) -> str:
        return f"/{self._version}/{quote(resource(attempt.model), safe='/')}:{method}"

    async def _nothing(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """`max_tokens: 0` only warms caches, which Gemini does automatically."""
        tokens = await self.count(request, attempt)
        attempt.note("emulate max_tokens: no output was requested; tokens were counted")
        usage = {"input_tokens": tokens if isinstance(tokens, int) else 0, "output_tokens": 0}
        return Reply.message(
            {
                "id": new_id("msg"),
                "type": "message",
                "role": "assistant",
                "model": request.model,
                "content": [],
                "stop_reason": "max_tokens",
                "stop_sequence": None,
                "usage": usage,
            }
        )

    # ── relaying for clients of Gemini's own API ─────────────────────────────────────────────

    def _original(self, request: MessagesRequest, attempt: Attempt) -> Original | None:
        """Return the client's request if it can be relayed, else None."""
        original = request.original
        return original if original is not None and is_relayable(original, request) else None

    def _sent(
        self, original: Original, request: MessagesRequest, attempt: Attempt
    ) -> MessagesRequest:
        return client_request(original, request, attempt.model, safety_settings(self._safety))

    async def _relayed(
        self, original: Original, request: MessagesRequest, attempt: Attempt
    ) -> Reply | None:
        """Relay the client's bytes; None if a translation is to be sent instead."""
        sent = self._sent(original, request, attempt)
        attempt.note(*(change.summary for change in sent.changes if change.field != "model"))
        response = await self._post(method_of(request), attempt, sent.raw)
        if response.status >= 400:
            refusal = await self._refusal(response)
            taught = self._learn(refusal, attempt)
            if not is_better_translated(
                original, refusal, self._target(attempt).facts.rejected_fields
            ):
                raise refusal
            why = "; ".join(taught) or "what it reports can be avoided"
            attempt.note(f"translated and retried after a refusal: {why}", *original.notes)
            return None
        try:
            if request.stream:
                chunks, error = await opened(response.chunks(), first=True)
                if error:
                    raise self.refused(status_in(error), error, response.headers)
                raw = RawChunks(chunks, _REPLIES, member=b'"usageMetadata"')
                reply = Reply.relay(raw, headers=response.headers, close=response.aclose)
                return reply.replace(dialect=original.dialect, usage=raw.usage)
            body = await response.read(_RELAYED_BYTES)
            await breath(len(body) > _LARGE)
            answer = answer_in(body)
            if answer.get("error"):
                raise self.refused(status_in(body), body, response.headers)
        except BaseException:
            await response.aclose()
            raise
        await response.aclose()
        usage = partial(_REPLIES.usage, {"usageMetadata": answer.get("usageMetadata")})
        reply = Reply.whole(200, body, headers=response.headers)
        return reply.replace(dialect=original.dialect, usage=usage)

    # ── errors ───────────────────────────────────────────────────────────────────────────────

    async def _refusal(self, response: UpstreamResponse) -> BackendRefused:
        return self.refused(response.status, await response.refusal(), response.headers)

    def refused(self, status: int, body: bytes, headers: Headers) -> BackendRefused:
        """The error for a Google error response; Google rejects a bad key with a 400."""
        refusal = BackendRefused(status, body, headers=headers)
        meaning = meaning_of(refusal)
        if refuses_key(refusal):
            return key_refusal(self.name, refusal)
        return BackendRefused(
            status,
            body,
            headers=headers,
            retry_after=meaning.retry_after,
            permanent=meaning.kind == "rate_limit" and b"PerDay" in body,
        )


@dataclass(slots=True)
class _Started:
    """A started response, and the request it belongs to."""

    target: Target
    translation: Translation
    response: UpstreamResponse


async def _each(events: Sequence[StreamEvent]) -> AsyncIterator[StreamEvent]:
    for item in events:
        yield item


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
