"""The plugin: applies the policy before, around and after each attempt."""

from __future__ import annotations

import math
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import anyio

from plugway import (
    Attempt,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    Exchange,
    Gateway,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    Send,
    StateKey,
    hookimpl,
)
from plugway_endpoints import TargetHealth, Topic, topic_of
from plugway_resilience._breaker import BreakerRules
from plugway_resilience._client_errors import Cause, prepare_errors
from plugway_resilience._health import Block, Health, Key, choose
from plugway_resilience._options import ResilienceOptions
from plugway_resilience._policy import (
    BLAMED,
    Budget,
    Kind,
    RepeatRules,
    kind_of,
    retry_after_of,
)
from plugway_resilience._resend import ResendRules, Resends, key_of

LEAST_SECONDS = 0.5
"""An attempt with less time than this is not made."""
_RATE_LIMIT: Final = "rate limit"


@dataclass(slots=True)
class _Run:
    """The state of one exchange."""

    sends: int = 0
    remote_seconds: float = 0.0
    local_seconds: float = 0.0
    causes: list[Cause] = field(default_factory=list[Cause])
    answered_by: str | None = None
    """The target whose content is sent to the client."""


_RUN: StateKey[_Run] = StateKey("resilience")


class Resilience(Plugin[ResilienceOptions]):
    """Retries, falls back, and skips targets that keep failing."""

    outside: ClassVar[tuple[str, ...]] = ("budget-tree", "budgets")  # which count each request

    def __init__(
        self,
        options: ResilienceOptions,
        *,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(options, name=name)
        self._clock = clock
        self._chance = chance
        self._budget = Budget(options.budget_share, options.budget_least)
        self._repeats = RepeatRules(
            options.max_repeats,
            options.repeat_min_seconds,
            options.repeat_max_seconds,
            options.connect_repeat_seconds,
            options.rate_limit_wait_seconds,
        )
        rules = BreakerRules(
            options.breaker_failures,
            options.breaker_share,
            options.breaker_least_calls,
            options.breaker_window_seconds,
            options.breaker_open_seconds,
            options.breaker_open_max_seconds,
        )
        self._health = Health(rules, chance)
        times, grace = options.resend_after_seconds, options.resend_grace_seconds
        self._resends = Resends(ResendRules(times, grace, options.resend_max_bytes))
        self._topic: Topic | None = None

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Rate limits are shared with other gateways by `store`."""
        async with topic_of(gateway, f"{self.name} cool-downs", self._learn) as self._topic:
            yield

    def _learn(self, target: str, value: Any, seconds: float) -> None:
        """Another gateway reached the rate limit of a target."""
        if value == _RATE_LIMIT:
            self._cool(target, seconds)

    @hookimpl
    async def plan_attempts(
        self, attempts: Sequence[Attempt], exchange: Exchange
    ) -> Sequence[Attempt] | None:
        """The targets to try, within `max_attempts`."""
        limit = self.options.max_attempts
        if len(attempts) < 2 or (self._health.well and len(attempts) <= limit):
            return None
        now = self._clock()
        blocks = [self._health.blocked(_key(attempt, exchange), now) for attempt in attempts]
        chosen = choose(blocks)
        if len(chosen) == len(attempts):
            return attempts[:limit]
        run = exchange.state[_RUN] = _Run()
        for index, block in enumerate(blocks):
            if block is not None and index not in chosen:
                self._skip(attempts[index], block, run, exchange)
        return [attempts[index] for index in chosen[:limit]]

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """The attempt, and its retries.

        Raises:
            BackendError: the target failed; its message is ready for the client.
        """
        if not self.options.join_resends:
            return await self._attempt(send, request, attempt, exchange)
        key = key_of(attempt, exchange)
        running = self._resends.find(key, request, exchange)
        if running is not None:
            what = f"joined the reply to {running.leader.id}: the same request"
            exchange.note(self.name, what, stage="attempt")
            self.log.info("%s %s", exchange.id, what)
            reply = await self._resends.join(running, request, exchange)
            if reply is not None:
                return reply
        running = self._resends.begin(key, request, exchange)
        if running is None:
            return await self._attempt(send, request, attempt, exchange)
        try:
            reply = await self._attempt(send, request, attempt, exchange)
        except BaseException as error:
            self._resends.failed(running, error)
            raise
        return self._resends.answered(running, reply, stream=request.stream)

    async def _attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        run = exchange.state.get(_RUN)
        if run is None:
            run = exchange.state[_RUN] = _Run()
        if not (attempt.last or self._health.well):
            block = self._health.blocked(_key(attempt, exchange), self._clock())
            if block is not None:
                self._skip(attempt, block, run, exchange)
                raise BackendUnavailable(f"`{attempt.target}` was skipped: {block.reason}")
        self._budget.waiting += 1
        try:
            return await self._with_repeats(send, request, attempt, run, exchange)
        finally:
            self._budget.waiting -= 1

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Record how a reply ended after its first content; client disconnects are ignored."""
        self._resends.ended(exchange, left=outcome.kind == "disconnected")
        run = exchange.state.get(_RUN)
        if run is None or run.answered_by is None:
            return
        breaker = self._health.breaker(run.answered_by)
        if outcome.kind == "completed":
            breaker.succeeded(self._clock())
        elif outcome.kind == "failed" and breaker.failed(self._clock(), probe=False):
            self._opened(run.answered_by)

    # ── one target ───────────────────────────────────────────────────────────────────────────

    async def _with_repeats(
        self,
        send: Send,
        request: MessagesRequest,
        attempt: Attempt,
        run: _Run,
        exchange: Exchange,
    ) -> Reply:
        made = 0
        while True:
            try:
                return await self._once(send, request, attempt, run, exchange)
            except BackendError as failure:
                cause = self._judge(failure, attempt, exchange)
                delay = self._delay(cause, attempt, made, run, failure)
                if delay is None:
                    run.causes.append(cause)
                    if attempt.last or not failure.try_next:
                        prepare_errors(
                            run.causes, stop_after=self.options.stop_after_seconds, wall=time.time()
                        )
                    raise
            made += 1
            self.log.info("`%s` failed; retrying in %.2f s", attempt.target, delay)
            self._budget.repeating += 1
            try:
                await anyio.sleep(delay)
            finally:
                self._budget.repeating -= 1

    async def _once(
        self,
        send: Send,
        request: MessagesRequest,
        attempt: Attempt,
        run: _Run,
        exchange: Exchange,
    ) -> Reply:
        seconds = self._time_for(attempt, run)
        began = self._clock()
        target = attempt.target
        breaker = self._health.breaker(target)
        probe = breaker.begin(began)
        if probe and not attempt.last and not _local(attempt):
            seconds = min(seconds, self.options.probe_seconds)
        if seconds != attempt.first_event_seconds:
            attempt = attempt.replace(first_event_seconds=seconds)
        run.sends += 1
        try:
            reply = await send(request, attempt)
        except BackendError as failure:
            blamed = kind_of(failure) in BLAMED
            if blamed and breaker.failed(self._clock(), probe=probe):
                self._opened(target)
            raise
        finally:
            if probe:
                breaker.release()
            self._spend(attempt, self._clock() - began, run)
        if not breaker.closed:
            self.log.info("`%s` is available again", target)
        breaker.answered()
        if not self._health.well:
            self._health.clear(_key(attempt, exchange))
        run.answered_by = target
        return reply

    def _time_for(self, attempt: Attempt, run: _Run) -> float:
        """Seconds that the attempt may wait for its first content."""
        seconds = attempt.first_event_seconds or math.inf
        left = self._left(attempt, run) if run.sends else math.inf
        if left < min(seconds, LEAST_SECONDS):
            raise BackendTimeout(f"no time left to try `{attempt.target}`")
        return min(seconds, left)

    def _left(self, attempt: Attempt, run: _Run) -> float:
        """Seconds that the request may still wait for content; a first attempt gets the full
        time."""
        options = self.options
        if _local(attempt):
            limit, spent = options.before_content_local_seconds, run.local_seconds
        else:
            limit, spent = options.before_content_seconds, run.remote_seconds
        return max(limit, attempt.first_event_seconds or limit) - spent

    def _spend(self, attempt: Attempt, seconds: float, run: _Run) -> None:
        if _local(attempt):
            run.local_seconds += seconds
        else:
            run.remote_seconds += seconds

    def _delay(
        self, cause: Cause, attempt: Attempt, made: int, run: _Run, failure: BackendError
    ) -> float | None:
        """Seconds until the target is retried, or None for no retry."""
        delay = self._repeats.delay(
            cause.kind,
            made=made,
            last=attempt.last or not failure.try_next,
            local=_local(attempt),
            retry_after=cause.retry_after,
            chance=self._chance,
        )
        if delay is None or ("x-should-retry", "false") in failure.headers:
            return None
        if run.sends >= self.options.max_attempts or not self._budget.allows():
            return None
        return delay if self._left(attempt, run) - delay >= LEAST_SECONDS else None

    # ── `TellsHealth` ────────────────────────────────────────────────────────────────────────

    def health(self) -> Sequence[TargetHealth]:
        """The targets that failed lately; see `plugway_endpoints.TellsHealth`."""
        return self._health.report(self._clock())

    # ── consequences of a failure ────────────────────────────────────────────────────────────

    def _judge(self, failure: BackendError, attempt: Attempt, exchange: Exchange) -> Cause:
        """The cause of a failure; a rate limit or rejected credential also blocks the target."""
        kind, key = kind_of(failure), _key(attempt, exchange)
        now = self._clock()
        options = self.options
        wait = None
        if kind is Kind.RATE_LIMIT:
            failure.retry_after = wait = retry_after_of(failure, time.time())
            seconds = options.cooldown_seconds if wait is None else max(1.0, wait)
            seconds = self._cool(key.target, seconds)
            if self._topic is not None and not exchange.caller.credentials:
                self._topic.put(key.target, _RATE_LIMIT, seconds)
        elif kind is Kind.CREDENTIAL:
            until = now + options.credential_recheck_seconds
            reason = f"its credential was refused ({failure.status})"
            # A 403 applies to one model, a 401 to everything that uses the same credential.
            whose = (key.target, key.credential) if failure.status == 403 else key.credential
            self._health.block(whose, Block(kind, until, reason))
            self.log.warning("`%s`: %s", attempt.target, reason)
        own = bool(exchange.caller.credentials)
        return Cause(kind, attempt.backend.name, wait, failure, own)

    def _cool(self, target: str, seconds: float) -> float:
        """Skip a target after a 429; returns for how many seconds."""
        seconds = min(seconds, self.options.cooldown_max_seconds)
        until = self._clock() + seconds
        self._health.block(target, Block(Kind.RATE_LIMIT, until, "its rate limit is exhausted"))
        return seconds

    def _skip(self, attempt: Attempt, block: Block, run: _Run, exchange: Exchange) -> None:
        seconds = max(0.0, block.until - self._clock())
        wait = seconds if block.kind is Kind.RATE_LIMIT else None
        run.causes.append(Cause(block.kind, attempt.backend.name, wait))
        what = f"skipped `{attempt.target}` for {seconds:.0f} s more: {block.reason}"
        exchange.note(self.name, what, stage="route")

    def _opened(self, target: str) -> None:
        self._health.opened(target)
        until = self._health.breaker(target).open_until or 0
        self.log.warning("`%s` failed too often; skipped for %.0f s", target, until - self._clock())


def _local(attempt: Attempt) -> bool:
    return attempt.backend.zone == "local"


def _key(attempt: Attempt, exchange: Exchange) -> Key:
    """A caller may have sent its own credential: if that is rejected, other callers still try."""
    own = exchange.caller.credentials
    return Key(attempt.target, (attempt.backend.name, hash(own) if own else 0))
