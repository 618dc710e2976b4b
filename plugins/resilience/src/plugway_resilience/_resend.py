"""A request that is asked again while it is being answered joins that answer.

A client whose time is over closes its connection and asks again a moment later, with the same body
(measured with Claude Code 2.1.329: 0.6 s later at first). A long prompt would then be read from its
start each time, and never to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import Attempt, BackendError, Exchange, MessagesRequest, Reply, StreamInterrupted
from plugway_resilience._recording import Memory, Recording

SLACK_SECONDS: Final = 12.0
"""How far from one of the configured times a client may leave: it is as long as the gateway's own
pings are apart, which set a client's timer back."""
MAX_WAITING: Final = 32
"""Answers that go on at once for clients that may ask again."""


@dataclass(frozen=True, slots=True)
class ResendRules:
    """When a client that leaves may ask again, and what that may cost."""

    times: tuple[float, ...] = (300.0, 600.0)
    grace_seconds: float = 40.0
    max_bytes: int = 16 * 1024 * 1024


class Running:
    """An answer that is being made, and who gets it."""

    reply: Reply | None = None
    recording: Recording[Any] | None = None
    failure: BackendError | None = None
    here = True
    """The client that asked first is still there."""
    over = False
    """Its exchange has ended."""
    stop: Callable[[], None] | None = None
    """Ends that exchange, which goes on without a client."""
    timer: asyncio.TimerHandle | None = None

    def __init__(
        self, key: Hashable, request: MessagesRequest, leader: Exchange, patience: float
    ) -> None:
        self.key = key
        self.request = request
        self.leader = leader
        self.patience = patience
        """Seconds after which the client says that it leaves; 0 where it does not say."""
        self.followers: dict[str, float] = {}
        """Exchanges that joined, with the patience of each."""
        self.ready = asyncio.Event()

    @property
    def joinable(self) -> bool:
        """A request that comes now can still get all of it."""
        return not (self.over and self.here) and (self.recording is None or self.recording.whole)


class Resends:
    """The answers that are being made, by who asks for them and where."""

    def __init__(self, rules: ResendRules) -> None:
        self._rules = rules
        self._running: dict[Hashable, list[Running]] = {}
        self._by_exchange: dict[str, Running] = {}
        self._waiting = 0
        self._memory = Memory(rules.max_bytes)

    def find(self, key: Hashable, request: MessagesRequest, exchange: Exchange) -> Running | None:
        """The answer that is being made for the same request of the same client, if any."""
        found = self._running.get(key)
        if not found or not _is_resend(request, exchange):
            return None
        return next((r for r in found if r.joinable and _same(r.request.body, request.body)), None)

    def begin(self, key: Hashable, request: MessagesRequest, exchange: Exchange) -> Running | None:
        """Put an answer on the list; None where nobody could be told to ask again for it."""
        if exchange.session_id is None and request.header("x-stainless-retry-count") is None:
            return None
        running = Running(key, request, exchange, _patience(request))
        self._running.setdefault(key, []).append(running)
        self._by_exchange[exchange.id] = running
        exchange.on_leave = lambda stop: self._left(running, stop)
        return running

    async def join(
        self, running: Running, request: MessagesRequest, exchange: Exchange
    ) -> Reply | None:
        """The reply that the first request gets, from its start; None where there will be none.

        Raises:
            BackendError: the first request's failure.
        """
        running.followers[exchange.id] = _patience(request)
        self._by_exchange[exchange.id] = running
        self._disarm(running)
        await running.ready.wait()
        if running.reply is None:
            self.ended(exchange, left=False)
            if running.failure is not None:
                raise running.failure
            return None
        if running.recording is None:
            return running.reply
        follow: AsyncIterator[Any] = running.recording.follow()
        form = "events" if running.reply.events is not None else "chunks"
        return running.reply.replace(**{form: follow})

    # ── what becomes of it ───────────────────────────────────────────────────────────────────

    def answered(self, running: Running, reply: Reply, *, stream: bool) -> Reply:
        """There is content; returns the reply that the first exchange goes on with.

        A stream that nobody waits for twice is let go: from here on its client hears from us and
        has no reason to ask again. So is a reply in the client's own dialect, which is not for
        others to read.
        """
        if reply.dialect:
            running.ready.set()
            self._forget(running)
            return reply
        if reply.body is None:
            if stream and running.here and not running.followers:
                self._forget(running)
                return reply
            reply = self._recorded(running, reply)
        running.reply = reply
        running.ready.set()
        return reply

    def failed(self, running: Running, error: BaseException) -> None:
        """There is no answer. Those who joined are told; or they ask themselves, where the backend
        is not to blame."""
        if isinstance(error, BackendError):
            running.failure = error
        running.ready.set()
        self._forget(running)
        if not running.here and running.stop is not None:
            running.stop()  # the next target is asked by those who joined, if there are any

    def ended(self, exchange: Exchange, *, left: bool) -> None:
        """An exchange is over; `left` says that its client went away before its end."""
        running = self._by_exchange.pop(exchange.id, None)
        if running is None:
            return
        if exchange is running.leader:
            running.over = True
            if running.recording is not None:
                running.recording.end(StreamInterrupted("the joined request ended"))
        else:
            patience = running.followers.pop(exchange.id, 0.0)
            if left and self._may_return(exchange, patience):
                self._arm(running)
        self._settle(running)

    def _left(self, running: Running, stop: Callable[[], None]) -> bool:
        running.here = False
        running.stop = stop
        if not running.followers and self._may_return(running.leader, running.patience):
            self._arm(running)
        return bool(running.followers) or running.timer is not None

    def _settle(self, running: Running) -> None:
        """End what nobody waits for any more."""
        if running.followers or running.timer is not None:
            return
        if running.over:
            self._forget(running)
        elif not running.here and running.stop is not None:
            self._forget(running)
            running.stop()

    def _forget(self, running: Running) -> None:
        same = self._running.get(running.key, [])
        if running not in same:
            return
        same.remove(running)
        if not same:
            del self._running[running.key]
        self._disarm(running)
        self._by_exchange.pop(running.leader.id, None)
        running.leader.on_leave = None
        if running.recording is not None:
            running.recording.drop()

    # ── time and memory ──────────────────────────────────────────────────────────────────────

    def _may_return(self, exchange: Exchange, patience: float) -> bool:
        """Whether a client that leaves now may have run out of time, and not of interest.

        Its SDK says in whole seconds, rounded down, how long it waits (`x-stainless-timeout`).
        """
        if self._waiting >= MAX_WAITING or not self._rules.grace_seconds:
            return False
        seconds = exchange.seconds
        if patience and patience - 0.5 <= seconds <= patience + 1.5:
            return True
        return any(abs(seconds - time) <= SLACK_SECONDS for time in self._rules.times)

    def _arm(self, running: Running) -> None:
        def over() -> None:
            running.timer = None
            self._waiting -= 1
            self._settle(running)

        self._disarm(running)
        loop = asyncio.get_running_loop()
        running.timer = loop.call_later(self._rules.grace_seconds, over)
        self._waiting += 1

    def _disarm(self, running: Running) -> None:
        if running.timer is not None:
            running.timer.cancel()
            running.timer = None
            self._waiting -= 1

    def _recorded(self, running: Running, reply: Reply) -> Reply:
        if reply.events is not None:
            events = Recording(aiter(reply.events), lambda e: len(e.encode()), self._memory)
            running.recording = events
            return reply.replace(events=events)
        assert reply.chunks is not None
        chunks = Recording(reply.chunks, len, self._memory)
        running.recording = chunks
        return reply.replace(chunks=chunks)


def key_of(attempt: Attempt, exchange: Exchange) -> Hashable:
    """Who asks, and where: equal for two requests of which one may be the other asked again."""
    caller = exchange.caller
    return (
        caller.name,
        caller.credentials,
        exchange.session_id,
        exchange.agent_id,
        exchange.model_asked,
        attempt.target,
    )


def _is_resend(request: MessagesRequest, exchange: Exchange) -> bool:
    """Whether an equal request is the same one: a conversation never has two of them at once. Who
    names none may want several answers, unless its SDK says that it asks again."""
    if exchange.session_id is not None:
        return True
    return (request.header("x-stainless-retry-count") or "0").strip() != "0"


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal but for whether a stream is wanted: a client that gives up on one asks without."""
    return {**one, "stream": None} == {**other, "stream": None}


def _patience(request: MessagesRequest) -> float:
    text = request.header("x-stainless-timeout") or ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0
