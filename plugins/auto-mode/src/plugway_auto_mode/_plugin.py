"""The plugin: detects requests for verdicts, and adds the verdicts to the reply.

See `_review` for how a verdict is found, and `_verdicts` for the wire format.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from plugway import (
    Attempt,
    EventStream,
    Exchange,
    Gateway,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    RequestRejected,
    Route,
    Send,
    StateKey,
    StreamEvent,
    hookimpl,
    replay,
)
from plugway_auto_mode._commands import Rules
from plugway_auto_mode._context import Context, asked
from plugway_auto_mode._held import judged
from plugway_auto_mode._judge import Judge, typed
from plugway_auto_mode._options import AutoModeOptions
from plugway_auto_mode._own_check import Conversations, is_own_check
from plugway_auto_mode._review import Call, Decision, decide
from plugway_auto_mode._verdicts import RESULTS, VerdictStream, calls_in, covers
from plugway_endpoints import KEPT_SECONDS, Topic, topic_of
from plugway_tools import ToolCall, ToolSpec, Verdict, record_verdict, unquoted

NATIVE_ZONE = "anthropic"
"""The backend whose servers give verdicts themselves; those are passed on."""
MAX_NOTES = 16
"""Maximum calls of one reply that get their own line in the receipt."""


@dataclass(slots=True)
class _Asked:
    """The state of an exchange that requests verdicts."""

    context: Context
    request: MessagesRequest
    asks_user: bool
    """Whether the client can ask its user about a call without a verdict."""
    upstream: bytes | None = None
    """A complete reply of a trusted backend, before any plugin changed it."""
    settled: bool = False
    """Whether the verdicts in the reply stay unchanged."""


_ASKED: StateKey[_Asked] = StateKey("auto-mode.asked")
_MAIN: StateKey[bool] = StateKey("auto-mode.main")
"""Whether it is a turn of a conversation, and not a side request of the client."""


class AutoMode(Plugin[AutoModeOptions]):
    """Decides which tool calls of a reply may run without asking."""

    outside: ClassVar[tuple[str, ...]] = ("router", "switch", "tool-repair")
    seals_replies: ClassVar[bool] = True

    def __init__(self, options: AutoModeOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._rules = Rules.build(options.trust, options.harmless, options.harmful)
        self._judge = Judge(options.judge) if options.judge else None
        self._gateway: Gateway | None = None
        self._conversations: defaultdict[str, Conversations] = defaultdict(Conversations)
        """By caller (`Caller.share`), so that one caller's sessions cannot evict another's."""
        self._topic: Topic | None = None

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report unknown backends."""
        known = ", ".join(f"`{name}`" for name in zones) or "none"
        return [
            (("trusted_backends", index), f"unknown backend `{name}`; the backends are {known}")
            for index, name in enumerate(self.options.trusted_backends)
            if name not in zones
        ]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Requests to the judge are sent through the gateway itself. The targets of conversations
        are shared with other gateways by `store`."""
        self._gateway = gateway
        async with topic_of(gateway, f"{self.name} targets", self._learn) as self._topic:
            yield

    def _learn(self, name: str, value: Any, seconds: float) -> None:
        """Another gateway has served a conversation."""
        share, _, session = name.rpartition("\n")
        instance, model = map(str, value)
        self._conversations[share].record(session, (instance, model))

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Detect a request for verdicts; fields that the target does not know are removed later."""
        in_session = exchange.session_id is not None and exchange.agent_id is None
        exchange.state[_MAIN] = in_session and request.offers_tools
        if "safeguards" not in request.fields or request.original is not None:
            return
        context = asked(request.get("safeguards"))
        if context is not None:
            asks_user = self.options.ask_user and _is_interactive(exchange)
            exchange.state[_ASKED] = _Asked(context, request, asks_user)

    @hookimpl
    def resolve_route(self, request: MessagesRequest, exchange: Exchange) -> Route | None:
        """Route the client's own check to the target of its conversation.

        Raises:
            RequestRejected: the target is unknown, so the check might go anywhere.
        """
        if exchange.session_id is None or not is_own_check(request):
            return None
        target = self._conversations[exchange.caller.share].target(exchange.session_id)
        if target is None:
            raise RequestRejected(
                "auto mode: this check of a tool call belongs to a conversation that this gateway "
                "has not seen since it started, so it was not sent. Unset "
                "CLAUDE_CODE_AUTO_MODE_SERVER: then the gateway answers the check itself",
                status=403,
                retry=False,
                record=True,
            )
        return Route((target,), "the client's own check goes where its conversation goes")

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Keep a trusted backend's complete reply, to detect changes by plugins."""
        reply = await send(request, attempt)
        state = exchange.state.get(_ASKED)
        if state is not None:
            state.upstream = reply.body if self._trusts(attempt) else None
        return reply

    # ── replies ──────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def transform_response(self, reply: Reply, exchange: Exchange) -> Reply | None:
        """Turn a complete reply into a stream, so that only the stream adds verdicts."""
        state = exchange.state.get(_ASKED)
        if state is None or reply.body is None or reply.status != 200:
            return None
        if exchange.endpoint != "messages" or not reply.parsed:
            return None
        if _is_settled(reply, state.upstream):
            state.settled = True
            return None
        return reply.replace(body=None, events=_replayed(reply))

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """The stream that adds the verdicts; None if Anthropic's own pass unchanged."""
        state = exchange.state.get(_ASKED)
        if state is None or state.settled:
            return None
        served = exchange.served_by
        native = served is not None and served.backend.zone == NATIVE_ZONE
        if native and not any(entry.stage == "layer" for entry in exchange.receipt):
            return None
        keeps = served is not None and self._trusts(served)
        judged = partial(self._judged, state, exchange)
        return VerdictStream(stream, judged, keeps=keeps, asks_user=state.asks_user)

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Remember the target of a conversation."""
        served, session = exchange.served_by, exchange.session_id
        if exchange.endpoint != "messages" or not exchange.state.get(_MAIN):
            return
        if served is None or session is None:
            return
        share, target = exchange.caller.share, (served.backend.name, served.model)
        new = self._conversations[share].record(session, target)
        if new and self._topic is not None:
            self._topic.put(f"{share}\n{session}", target, KEPT_SECONDS)

    # ── `JudgesCalls` ────────────────────────────────────────────────────────────────────────

    def judge_call(self, call: ToolCall, spec: ToolSpec) -> Verdict:
        """The verdict on a call that the gateway would run; see `plugway_tools.JudgesCalls`."""
        return judged(call, spec, self._rules)

    # ── verdicts ─────────────────────────────────────────────────────────────────────────────

    async def _judged(
        self, state: _Asked, exchange: Exchange, calls: Sequence[Call]
    ) -> Sequence[Decision]:
        decisions = decide(calls, state.context, self._rules)
        if self._judge is not None and self._gateway is not None:
            words = typed(state.request.get("messages"))
            decisions = await self._judge.settled(
                decisions, words, state.context, exchange, self._gateway
            )
        for decision in decisions[:MAX_NOTES]:
            exchange.note(self.name, _noted(decision), stage="safeguards")
            verdict = Verdict(_KINDS[decision.outcome], decision.reason)
            quotes = decision.quotes_call
            record_verdict(exchange, decision.call.name, verdict, quotes=quotes)
        if len(decisions) > MAX_NOTES:
            more = f"and verdicts for {len(decisions) - MAX_NOTES} further calls"
            exchange.note(self.name, more, stage="safeguards")
        return decisions

    def _trusts(self, attempt: Attempt) -> bool:
        backend = attempt.backend
        return backend.zone == NATIVE_ZONE or backend.name in self.options.trusted_backends


def _is_interactive(exchange: Exchange) -> bool:
    """Whether the client is interactive: `claude-cli/2.1.332 (external, cli)`; print mode and SDKs
    report `sdk-cli` and the like."""
    return exchange.client.startswith("claude-cli/") and exchange.client.endswith(", cli)")


_KINDS: Mapping[str, Literal["allowed", "denied", "undecided"]] = {
    "passed": "allowed",
    "flagged": "denied",
    "none": "undecided",
    "open": "undecided",
}
_OUTCOMES = {
    "passed": "may run without asking",
    "flagged": "was flagged",
    "none": "got no verdict",
    "open": "got no verdict",
}


def _noted(decision: Decision) -> str:
    """A line of the receipt, without the parts of the reason that quote the call."""
    reason = decision.reason
    if decision.quotes_call:
        reason = unquoted(reason)
    return f"`{decision.call.name[:80]}` {_OUTCOMES[decision.outcome]}: {reason}"


def _is_settled(reply: Reply, upstream: bytes | None) -> bool:
    """Whether a complete reply needs no change: it has no calls, or a trusted backend's verdicts
    on all of them and no changes by plugins."""
    calls, results = calls_in(reply.parsed), reply.parsed.get(RESULTS)
    if upstream is None:
        return not calls and results is None
    same = reply.body is upstream or calls == calls_in(Reply.whole(200, upstream).parsed)
    return same and covers(results, calls)


async def _replayed(reply: Reply) -> AsyncGenerator[StreamEvent]:
    for item in replay(reply.parsed):
        yield item
