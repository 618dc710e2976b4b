"""The plugin: notes what is sent, and explains what was not read from the cache at the end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Final

import anyio.to_thread

from plugway import (
    Attempt,
    Bounded,
    Exchange,
    Gateway,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    Send,
    StateKey,
    Usage,
    hookimpl,
)
from plugway_cache_watch._body import PromptBody
from plugway_cache_watch._causes import Cause, unreported
from plugway_cache_watch._conversations import (
    Conversations,
    Counts,
    Sent,
    Target,
    Verdict,
    continuation,
    credentials_of,
    judge,
    key_of,
)
from plugway_cache_watch._costs import cost_of_miss
from plugway_cache_watch._explained import QUIET, Explanation
from plugway_cache_watch._options import CacheWatchOptions
from plugway_cache_watch._prints import MOST_ENTRIES, print_of
from plugway_cache_watch._providers import rules_of

_MOST_TARGETS: Final = 256
SILENT_TURNS: Final = 20
"""After so many requests without cached tokens, those to a target are not compared any more."""


class CacheWatch(Plugin[CacheWatchOptions]):
    """Explains what each request read from the prompt cache, and why not more."""

    outside: ClassVar[tuple[str, ...]] = ("dashboard",)

    def __init__(self, options: CacheWatchOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.clock = time.monotonic
        self._sent: StateKey[Sent] = StateKey(self.name)
        self._conversations = Conversations()
        self._explained: Bounded[str, Explanation] = Bounded(options.remember)
        self._targets: Bounded[str, Target] = Bounded(_MOST_TARGETS)
        self._epoch = 0
        self._gateway: Gateway | None = None

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """After a reload, the state of the instance of that name goes on."""
        return self._live(gateway)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Note the request as it is sent."""
        credentials = credentials_of(exchange.caller) if exchange.caller.credentials else 0
        conversation = self._conversations.at(key_of(exchange, credentials))
        target = self._targets.get(attempt.target)
        if target is None:
            rules = rules_of(attempt.backend.zone, attempt.model)
            target = self._targets[attempt.target] = Target(attempt.target, rules)
        target.turns += 1
        sent = Sent(
            exchange.id,
            target,
            request,
            conversation,
            credentials,
            self.clock(),
            target.turns,
            self._epoch,
        )
        conversation.flying[exchange.id] = exchange.state[self._sent] = sent
        return await send(request, attempt)

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> Awaitable[None] | None:
        """Explain what was read; a miss that costs enough is noted on the receipt."""
        sent = exchange.state.get(self._sent)
        if sent is None:
            return None
        sent.conversation.flying.pop(exchange.id, None)
        served, usage = exchange.served_by, outcome.usage
        if served is None or served.target != sent.target.name or outcome.status >= 400:
            return None
        total = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
        if not total:
            return None
        first = outcome.first_content_seconds
        began = self.clock() - outcome.seconds + (outcome.seconds if first is None else first)
        read, written = usage.cache_read_tokens, usage.cache_creation_tokens
        if not exchange.answers:
            return None  # it joined the reply to another exchange
        counts = Counts(total, read, written, began, exchange.answers > 1)
        if written:
            sent.target.writes = sent.target.reports = True
        elif read:
            sent.target.reports = True
        body = PromptBody(sent.request)
        verdict = continuation(self._conversations, sent, counts, body)
        if verdict is None:
            return self._compare(exchange, sent, counts, body, served, usage)
        lacking, causes = verdict
        name = sent.target.name
        self._explained[exchange.id] = Explanation(name, read, written, total, lacking, causes)
        return None

    # ── for other plugins: `plugway_endpoints.ExplainsCache` ─────────────────────────────────

    def cache_of(self, request_id: str) -> Mapping[str, Any] | None:
        """The explanation of an exchange as JSON-ready data."""
        found = self._explained.get(request_id)
        return found and found.as_json()

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    async def _compare(
        self,
        exchange: Exchange,
        sent: Sent,
        counts: Counts,
        body: PromptBody,
        served: Attempt,
        usage: Usage,
    ) -> None:
        missed, causes = await self._compared(sent, counts, body)
        first = exchange.attempts[0].target if exchange.attempts else sent.target.name
        if first != sent.target.name and causes[0].code not in QUIET:
            causes = _after_failure(causes, first, sent.target.name)
        tokens = (counts.read, counts.written, counts.total, missed)
        found = Explanation(sent.target.name, *tokens, tuple(causes))
        if found.miss and self._gateway is not None:
            priced = (self._gateway, served, sent.request, usage, missed)
            found = found._replace(dollars=await anyio.to_thread.run_sync(cost_of_miss, *priced))
            if self._is_dear(found):
                exchange.note(self.name, found.line, stage="cache")
        self._explained[exchange.id] = found

    async def _compared(self, sent: Sent, counts: Counts, body: PromptBody) -> Verdict:
        if body.stored:
            return 0, [Cause("stored", "the server stores the beginning of this prompt")]
        target = sent.target
        if target.turns > SILENT_TURNS and not (target.reports or target.rules.reports):
            return 0, [unreported(target.name)]
        if len(body.messages) > MOST_ENTRIES:
            return 0, [Cause("long", f"not compared: it has more than {MOST_ENTRIES:,} messages")]
        if sent.request.heavy:
            fingerprint = await anyio.to_thread.run_sync(print_of, body)
        else:
            fingerprint = sent.fingerprint(body)
        return judge(self._conversations, sent, counts, body, fingerprint)

    def _is_dear(self, found: Explanation) -> bool:
        if found.dollars:
            return found.dollars >= self.options.least_dollars
        return found.missed >= self.options.least_tokens

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        self._gateway = gateway
        if gateway.predecessor is not None:
            for name, before in gateway.predecessor.find(CacheWatch):
                if name == self.name:
                    self._take(before)
        yield

    def _take(self, before: CacheWatch) -> None:
        self._conversations, self._targets = before._conversations, before._targets
        self._epoch = before._epoch + 1
        if self.options.remember == before.options.remember:
            self._explained = before._explained  # requests that still run are explained there
        else:
            for request_id, found in before._explained.items():
                self._explained[request_id] = found


def _after_failure(causes: Sequence[Cause], failed: str, target: str) -> list[Cause]:
    """The causes of a miss of a request that another target should have served."""
    main, *others = causes
    if main.code in {"model", "target"}:
        return [Cause(main.code, f"{main.text}, because `{failed}` failed"), *others]
    return [*causes, Cause("target", f"it went to `{target}` because `{failed}` failed")]
