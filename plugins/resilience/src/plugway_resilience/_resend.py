"""A request that is sent again while its reply is being made joins that reply.

A client that times out closes its connection and soon sends the same body again (Claude Code
2.1.329: 0.6 s later at first, measured). Without joining, a long prompt would be processed from
its start each time and never finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import Attempt, BackendError, Exchange, MessagesRequest, Reply, StreamInterrupted
from plugway_resilience._recording import Memory, Recording

SLACK_SECONDS: Final = 12.0
"""Seconds around a configured time within which a disconnect counts as a timeout: the gateway's
pings, which reset a client's timer, are that far apart."""
MAX_WAITING: Final = 32
"""Replies that continue at the same time for clients that may return."""


@dataclass(frozen=True, slots=True)
class ResendRules:
    """When a disconnected client may return, and the memory limit."""

    times: tuple[float, ...] = (300.0, 600.0)
    grace_seconds: float = 40.0
    max_bytes: int = 16 * 1024 * 1024


class Running:
    """A reply that is being made, and the exchanges that receive it."""

    reply: Reply | None = None
    recording: Recording[Any] | None = None
    failure: BackendError | None = None
    here = True
    """Whether the first client is still connected."""
    over = False
    """Whether the first exchange has ended."""
    stop: Callable[[], None] | None = None
    """Cancels the first exchange, which continues without a client."""
    timer: asyncio.TimerHandle | None = None

    def __init__(
        self, key: Hashable, request: MessagesRequest, leader: Exchange, patience: float
    ) -> None:
        self.key = key
        self.request = request
        self.leader = leader
        self.patience = patience
        """Client timeout in seconds, if it announces one; otherwise 0."""
        self.followers: dict[str, float] = {}
        """Exchanges that joined, with the timeout of each."""
        self.ready = asyncio.Event()

    @property
    def joinable(self) -> bool:
        """Whether a new request can still receive the complete reply."""
        return not (self.over and self.here) and (self.recording is None or self.recording.whole)


class Resends:
    """The replies that are being made, by client and target."""

    def __init__(self, rules: ResendRules) -> None:
        self._rules = rules
        self._running: dict[Hashable, list[Running]] = {}
        self._by_exchange: dict[str, Running] = {}
        self._waiting = 0
        self._memory = Memory(rules.max_bytes)

    def find(self, key: Hashable, request: MessagesRequest, exchange: Exchange) -> Running | None:
        """The reply that is being made for the same request of the same client, or None."""
        found = self._running.get(key)
        if not found or not _is_resend(request, exchange):
            return None
        return next((r for r in found if r.joinable and _same(r.request.body, request.body)), None)

    def begin(self, key: Hashable, request: MessagesRequest, exchange: Exchange) -> Running | None:
        """Register a reply; None if a repeated request could not be recognized."""
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
        """The first request's reply, from its start; None if there will be no reply.

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

    # ── outcomes ─────────────────────────────────────────────────────────────────────────────

    def answered(self, running: Running, reply: Reply, *, stream: bool) -> Reply:
        """The reply has content; returns the reply for the first exchange.

        A stream that no second client follows is not recorded: its client receives content from
        here on and has no reason to send again. Neither is a reply in the client's own dialect,
        which only that client can read.
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
        """The attempt failed. Joined exchanges get a backend's error, otherwise they try it
        themselves."""
        if isinstance(error, BackendError):
            running.failure = error
        running.ready.set()
        self._forget(running)
        if not running.here and running.stop is not None:
            running.stop()  # joined exchanges, if any, try the next target themselves

    def ended(self, exchange: Exchange, *, left: bool) -> None:
        """An exchange ended; `left` means that its client disconnected before the end."""
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
        """Cancel or remove a reply that no client waits for."""
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
        """Whether a client that disconnects now may have timed out, rather than been cancelled.

        SDKs announce their timeout in whole seconds, rounded down (`x-stainless-timeout`).
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
    """Client and target: equal for two requests of which one may repeat the other."""
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
    """Whether an equal request repeats the first one. A conversation never sends two at once;
    without a conversation id they may be separate, unless the SDK says that it retries."""
    if exchange.session_id is not None:
        return True
    return (request.header("x-stainless-retry-count") or "0").strip() != "0"


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether bodies are equal except for `stream`: after a failed stream a client sends without
    it."""
    return {**one, "stream": None} == {**other, "stream": None}


def _patience(request: MessagesRequest) -> float:
    text = request.header("x-stainless-timeout") or ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0
