"""The plugin: checks each request before it is sent, and learns from the response."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import orjson

from plugway import (
    REMOVE,
    Attempt,
    BackendError,
    BackendRefused,
    EventStream,
    Exchange,
    MessagesRequest,
    ModelInfo,
    Outcome,
    Plugin,
    Reply,
    Send,
    StateKey,
    as_list,
    as_object,
    hookimpl,
)
from plugway_context_guard._edits import apply, describe, least_trigger, wanted
from plugway_context_guard._exact import ExactCounts, tokens_in
from plugway_context_guard._features import ALL, Features, Sees, collapsed, features_of
from plugway_context_guard._meter import Count, Meter, at_most
from plugway_context_guard._options import ContextGuardOptions
from plugway_context_guard._room import Room, limit_of, shorter_answer, with_answer
from plugway_context_guard._thoughts import NONE, Thoughts, thoughts_in
from plugway_context_guard._usage import ReportedStream, ReportedUsage, prompt_tokens
from plugway_context_guard._windows import Window, Windows
from plugway_upstream_errors import Meaning, meaning_of, overflow_sentence

MOST_TO_LEARN: Final = 2**19
"""Bytes of a request whose features are looked at only to learn from it: it takes 5 ms."""


@dataclass(slots=True)
class _Seen:
    """One exchange, on one attempt."""

    target: str = ""
    size: int = 0
    thoughts: Thoughts = NONE
    sees: Sees = ALL
    features: Features | None = None
    room: Room | None = None
    """How the prompt fits, if that was checked."""
    reporting: ReportedUsage = field(default_factory=ReportedUsage)
    reported: bool = False
    """Whether the reply's numbers were changed already."""
    real: int = 0
    """Tokens of the prompt as the server counted them, if the reported number differs."""
    request: MessagesRequest | None = None
    """The request whose tokens are estimated."""

    def measured(self, request: MessagesRequest) -> Features:
        """The features of a request of this exchange."""
        return features_of(request, self.thoughts, self.sees)


_FARTHEST_OFF: Final = 2
"""How much larger an estimate may be than the count: by so much for very many short messages."""
_SEEN: StateKey[_Seen] = StateKey("context-guard")
_EDITS: StateKey[Any] = StateKey("context-guard.edits")


class ContextGuard(Plugin[ContextGuardOptions]):
    """Counts prompts before they are sent, and keeps them and their answers inside the window."""

    outside: ClassVar[tuple[str, ...]] = ("budget-tree", "budgets")  # which count each request

    def __init__(self, options: ContextGuardOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._meter = Meter()
        self._windows = Windows(options.windows, options.warn_below_tokens)
        self._exact = ExactCounts(self.log)

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Windows are refreshed in the background."""
        return self._windows.open()

    @hookimpl
    def list_models(self, models: Sequence[ModelInfo]) -> Sequence[ModelInfo]:
        """Replace the windows that backends state with those that were configured or learned; warn
        of small ones as soon as a client requests the list."""
        shown: list[ModelInfo] = []
        for info in models:
            target = info.id.removeprefix("anthropic/")
            tokens, source = self._windows.known(target, info.context_tokens)
            self._windows.warn(target, tokens, source)
            shown.append(replace(info, context_tokens=tokens))
        return shown

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Remember what the client wants cleared, before other plugins remove the field."""
        edits = request.get("context_management")
        if edits is not None and self.options.emulate_context_management:
            exchange.state[_EDITS] = edits

    @hookimpl
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """The request with old content cleared and `max_tokens` inside the window.

        Raises:
            BackendRefused: the prompt does not fit; the message is one that the client acts on.
        """
        if attempt.backend.zone in self.options.skip_zones:
            return None
        window = await self._windows.of(attempt)
        seen = exchange.state[_SEEN] = _Seen(attempt.target, sees=window.sees)
        scale = self._scale(window, exchange)
        seen.thoughts = thoughts_in(request, attempt.backend.name)
        request, applied = self._edited(request, scale, seen, exchange)
        if scale != 1.0 or applied:
            seen.reporting = ReportedUsage(scale, applied)
        if applied:
            seen.thoughts = thoughts_in(request, attempt.backend.name)
        seen.size = len(request.raw) - len(seen.thoughts.apart)
        seen.request = request
        if exchange.endpoint == "count_tokens":
            return request
        return await self._inside(request, attempt, window, seen, exchange)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Run the attempt; a rejection teaches the limits of its model, and its token counts.

        If the prompt fits by the server's count and only the reply limit does not, the request is
        sent once more with a lower limit. A prompt that is too long may go on to the next target,
        whose window is checked first.
        """
        try:
            return await send(request, attempt)
        except BackendError as failure:
            if isinstance(failure, BackendRefused) and failure.native:
                raise
            meaning = meaning_of(failure)
            self._learn(meaning, attempt, exchange)
            shorter = self._shorter(request, meaning)
            if shorter is None:
                if meaning.kind == "overflow" and not attempt.last:
                    failure.status, failure.try_next = meaning.status, True
                raise
        return await send(shorter, attempt)

    @hookimpl
    def transform_response(self, reply: Reply, exchange: Exchange) -> Reply | None:
        """A whole reply with the numbers for the client."""
        seen = exchange.state.get(_SEEN)
        if seen is None or reply.body is None:
            return None
        if exchange.endpoint == "count_tokens":
            return self._counted(reply, seen, exchange)
        if reply.status != 200 or not seen.reporting.changes:
            return None
        message = reply.parsed
        if not message:
            return None
        seen.real = prompt_tokens(message.get("usage"))
        seen.reported = True
        exchange.note(self.name, seen.reporting.described, stage="transform_response")
        return reply.replace(body=orjson.dumps(seen.reporting.message(message)))

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """A stream layer if numbers change; None otherwise."""
        seen = exchange.state.get(_SEEN)
        if seen is None or seen.reported or not seen.reporting.changes:
            return None
        exchange.note(self.name, seen.reporting.described, stage="transform_stream")
        return ReportedStream(stream, seen.reporting)

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """The server's own count teaches the meter."""
        seen = exchange.state.get(_SEEN)
        served = exchange.served_by
        if seen is None or served is None or outcome.kind != "completed":
            return
        usage = outcome.usage
        counted = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
        if served.target == seen.target and exchange.endpoint == "messages":
            self._learn_usage(seen, seen.real or counted)

    # ── before sending ───────────────────────────────────────────────────────────────────────

    async def _inside(
        self,
        request: MessagesRequest,
        attempt: Attempt,
        window: Window,
        seen: _Seen,
        exchange: Exchange,
    ) -> MessagesRequest:
        asked = request.get("max_tokens")
        asked = asked if isinstance(asked, int) else 0
        over_output = window.output and asked > window.output
        loose = at_most(request, seen.thoughts)
        if not over_output and (not window.context or loose + asked <= window.context):
            return request
        if not window.context:
            because = f"the model's output limit is {window.output} tokens"
            return with_answer(request, window.output, because)
        seen.features = seen.measured(request)
        count = self._meter.count(attempt.target, seen.features)
        limit = limit_of(window.context, self.options.least_output_tokens)
        room = Room(count, self._meter.plain(seen.features), window, limit)
        may_fit = room.too_long and self._fewest(request, seen) <= limit
        unsure = room.too_long and count.tokens <= _FARTHEST_OFF * limit
        if room.doubtful or may_fit or unsure:
            count = await self._counted_by(request, attempt, seen)
            room = room if count is None else replace(room, count=count)
        seen.room = room
        if room.too_long and not (room.refusable and (may_fit or window.stale)):
            self._refuse(room, attempt, exchange)
            return request
        return request if asked <= room.answer else with_answer(request, room.answer, room.reason)

    def _fewest(self, request: MessagesRequest, seen: _Seen) -> int:
        """The fewest tokens that some vocabulary makes of the prompt."""
        features = collapsed(request, seen.thoughts, seen.sees)
        return self._meter.fewest(seen.target, features, tools=bool(request.get("tools")))

    def _leaves_out_tools(self, request: MessagesRequest, seen: _Seen, tokens: int) -> bool:
        """Whether a count is that of the prompt with no more of its tools than their names: there
        are chat templates that leave out the rest. Not at a target that has counted tools."""
        if self._meter.counts_tools(seen.target):
            return False
        tools = map(as_object, as_list(request.get("tools")))
        named = request.replace(because="", tools=[{"name": tool.get("name")} for tool in tools])
        most = self._meter.count(seen.target, seen.measured(named)).most
        return self._fewest(named, seen) <= tokens <= most

    def _refuse(self, room: Room, attempt: Attempt, exchange: Exchange) -> None:
        """The overflow, before the upstream sees it; another target may have a larger window."""
        window = room.window
        text = (
            f"{overflow_sentence(room.count.tokens, room.limit)} ({room.count} counted for "
            f"`{attempt.target}`; its window of {window.context} reserves "
            f"{window.context - room.limit} for the reply; {window.source})"
        )
        exchange.note(self.name, text, stage="prepare_attempt")
        if exchange.endpoint == "explain":
            return
        error = {"type": "invalid_request_error", "message": text}
        body = orjson.dumps({"type": "error", "error": error, "request_id": exchange.id})
        headers = (("content-type", "application/json"),)
        refusal = BackendRefused(400, body, headers=headers, native=True, message=text, record=text)
        refusal.try_next = True
        raise refusal

    async def _counted_by(
        self, request: MessagesRequest, attempt: Attempt, seen: _Seen
    ) -> Count | None:
        """The backend's own count; None if it has none or takes too long."""
        if not self.options.exact_count:
            return None
        counted = await self._exact.of(request, attempt)
        if counted is None:
            return None
        if seen.features is not None:
            self._learn_count(seen, counted, seen.features)
        return Count(counted)

    def _edited(
        self, request: MessagesRequest, scale: float, seen: _Seen, exchange: Exchange
    ) -> tuple[MessagesRequest, list[dict[str, Any]]]:
        """Apply `context_management` here."""
        asked = exchange.state.get(_EDITS)
        edits = wanted(asked) if asked is not None else []
        if not edits:
            return request, []
        target, size = seen.target, len(request.raw)
        prompt = at_most(request, seen.thoughts)
        if prompt * scale > least_trigger(edits):
            prompt = self._meter.count(target, seen.measured(request)).tokens
        share = prompt / max(1, size)
        messages = as_list(request.get("messages"))
        edited = apply(
            messages, edits, round(prompt * scale), lambda piece: round(len(piece) * share)
        )
        because = (
            f"{describe(edited.applied)} here as the client requested, "
            "because the server does not edit contexts"
        )
        fields: dict[str, Any] = {"messages": edited.messages} if edited.applied else {}
        if "context_management" in request.fields:
            fields["context_management"] = REMOVE
        if not fields:
            return request, []
        return request.replace(because=because, **fields), edited.applied

    # ── reported numbers ─────────────────────────────────────────────────────────────────────

    def _scale(self, window: Window, exchange: Exchange) -> float:
        """Tokens reported to the client for each real token, so that it compacts in time."""
        options = self.options
        if not options.scale_usage or not window.context or exchange.session_id is None:
            return 1.0
        return options.client_compacts_at / (options.compact_share * window.context)

    def _counted(self, reply: Reply, seen: _Seen, exchange: Exchange) -> Reply | None:
        """The reply to `count_tokens`: the server's own, or the estimate if it has none or fails.

        An error with a status below 500 says something about the request, the key or the quota.
        """
        failed = reply.status >= 500
        uncounted = failed or any(entry.stage == "count" for entry in exchange.receipt)
        if seen.request is not None and uncounted:
            count = self._meter.count(seen.target, seen.measured(seen.request))
            why = f": `{seen.target}` failed to count (status {reply.status})" if failed else ""
            exchange.note(self.name, f"estimated {count}{why}", stage="transform_response")
            return Reply.message({"input_tokens": max(1, seen.reporting.tokens(count.tokens))})
        if reply.status != 200 or seen.reporting.scale == 1.0:
            return None
        counted = tokens_in(reply)
        return Reply.message({"input_tokens": seen.reporting.tokens(counted)}) if counted else None

    # ── what is learned ──────────────────────────────────────────────────────────────────────

    def _learn(self, meaning: Meaning, attempt: Attempt, exchange: Exchange) -> None:
        """Learn the limits stated in a rejection, and its count of the prompt."""
        if meaning.kind == "output_limit" and meaning.limit:
            self._windows.outputs.learn(attempt.target, meaning.limit)
        if meaning.kind != "overflow":
            return
        if meaning.limit:
            stated = self._windows.stated(attempt)
            self._windows.learn_context(attempt.target, meaning.limit, stated)
        seen = exchange.state.get(_SEEN)
        if not meaning.prompt or seen is None or seen.request is None:
            return
        seen.features = seen.features or seen.measured(seen.request)
        guess = self._meter.count(seen.target, seen.features).tokens
        if meaning.prompt > meaning.limit + 1 or meaning.prompt > guess:
            self._learn_count(seen, meaning.prompt, seen.features)
        # otherwise it stopped counting at its limit, as vLLM does

    def _learn_usage(self, seen: _Seen, tokens: int) -> None:
        """Learn from the usage of a reply, unless its server truncated the prompt first."""
        room = seen.room
        if room is not None and tokens and seen.request is not None:
            count, limit = room.count, room.limit
            short = tokens < count.least and limit < count.tokens
            cut = short and tokens < self._fewest(seen.request, seen)
            if cut and not self._leaves_out_tools(seen.request, seen, tokens):
                self._windows.learn_cut(seen.target, count.tokens, tokens)
                return
            if room.window.cuts and count.most > limit and tokens < count.tokens:
                return
        self._windows.served(seen.target, tokens)
        new = seen.size <= MOST_TO_LEARN and self._meter.is_new(seen.target, tokens, seen.size)
        if seen.features is None and new and seen.request is not None:
            seen.features = seen.measured(seen.request)
        if seen.features is not None:
            self._learn_count(seen, tokens, seen.features)

    def _learn_count(self, seen: _Seen, tokens: int, features: Features) -> None:
        request = seen.request
        tools = request is not None and bool(request.get("tools"))
        if request is not None and tools:
            tools = not self._leaves_out_tools(request, seen, tokens)
        self._meter.learn(seen.target, tokens, seen.size, features, tools=tools)

    def _shorter(self, request: MessagesRequest, meaning: Meaning) -> MessagesRequest | None:
        if meaning.kind != "overflow" or not meaning.limit:
            return None
        least = self.options.least_output_tokens
        return shorter_answer(request, meaning.prompt, meaning.limit, least)
