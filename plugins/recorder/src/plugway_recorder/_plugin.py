"""The plugin: records the turns of conversations whose person asked for it, and no others.

`_wish` says how a person asks, `_turn` what is kept of a turn, `_routes` who may read it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import anyio
import anyio.to_thread
from starlette.routing import BaseRoute

from plugway import (
    Bounded,
    EventStream,
    Exchange,
    Gateway,
    MessagesRequest,
    Outcome,
    Plugin,
    PlugwayError,
    Reply,
    StateKey,
    hookimpl,
)
from plugway_endpoints import (
    KEPT_SECONDS,
    REPLAY_HEADER,
    GatewayLine,
    KeepsConversations,
    Topic,
    message_of,
    topic_of,
    typed_line,
)
from plugway_recorder import _answers as answers
from plugway_recorder._options import RecorderOptions
from plugway_recorder._routes import Routes
from plugway_recorder._store import Key, Limits, Store, recordings_path, short_of
from plugway_recorder._turn import Ended, Observed, Taken, facts_of
from plugway_recorder._wish import Wish, header_wish, wish_in
from plugway_tools import ToolCall, ToolSpec, Verdict

_MOST_SEEN: Final = 256
_MOST_WAITING: Final = 64 * 2**20
"""Bytes of requests that wait to be written; beyond that turns are not kept."""
_LAST_SECONDS: Final = 5.0
_EVERY_SECONDS: Final = 3600.0
_FLUSH_SECONDS: Final = 1.0
_TAKEN: StateKey[Taken] = StateKey("recorder.taken")
_SAID: StateKey[str] = StateKey("recorder.said")
_REPLAYED: StateKey[str] = StateKey("recorder.replayed")


class Recorder(Plugin[RecorderOptions]):
    """Records conversations whose person asks for it, encrypted, so that they can be replayed."""

    outside: ClassVar[tuple[str, ...]] = (  # which act on the person's line, or change requests
        *("switch", "thinking", "toolbelt", "server-tools", "tool-repair", "context-guard"),
        *("field-policy", "router"),
    )

    def __init__(self, options: RecorderOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        limits = Limits(options.turns, options.mib * 2**20, options.days)
        self.store = Store(recordings_path(name), options.key.get_secret_value(), limits)
        self.known: dict[Key, str] = {}
        """Conversations with a recording, and why it ended; empty while it goes on."""
        self.seen: Bounded[Key, float] = Bounded(_MOST_SEEN)
        """Conversations of the last time, and when each was last served."""
        self._waiting: deque[Ended] = deque()
        self._size = 0
        self._writing = anyio.Lock()
        self._ready = anyio.Event()
        self._keeper: KeepsConversations | None = None
        self._stops: Topic | None = None
        self._stopped: list[Key] = []
        """Conversations that were stopped by another gateway."""

    # ── the exchange ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest | None:
        """Start and stop recordings, and take the request if its conversation is recorded.

        Raises:
            InvalidRequest: the header has another value than `on` and `off`.
        """
        if exchange.endpoint != "messages" or exchange.caller.name == "anonymous":
            return None
        replayed = request.header(REPLAY_HEADER)
        if replayed is not None:
            exchange.state[_REPLAYED] = replayed
            return None
        key = key_of(exchange)
        if key is not None:
            self.seen[key] = time.time()
        if (wish := _wish(request, exchange)) is not None:
            await self._heed(wish, key, exchange)
        if key is None or key not in self.known or exchange.state.get(_SAID) is not None:
            return None
        if why := self.known[key]:
            exchange.note(self.name, f"this conversation is not recorded: {why}", stage="record")
            return None
        exchange.note(self.name, f"this conversation is recorded; {answers.STOP}", stage="record")
        exchange.state[_TAKEN] = Taken(request)
        if request.original is None:
            return None
        because = "a reply that is recorded is read as events, so it is translated"
        return request.replace(because=because, messages=request.get("messages"))

    @hookimpl
    async def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """Confirm what a line alone asked for, without a model."""
        said = exchange.state.get(_SAID)
        if said is None:
            return None
        last = self._keeper.conversations.last(exchange.session_id, None) if self._keeper else None
        return Reply.message(message_of(request, said, last))

    @hookimpl
    async def transform_response(self, reply: Reply, exchange: Exchange) -> None:
        """Take a whole reply as the client gets it."""
        taken = exchange.state.get(_TAKEN)
        if taken is not None and reply.body is not None and reply.status < 400:
            taken.message = reply.parsed

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """Take a streamed reply as the client gets it."""
        taken = exchange.state.get(_TAKEN)
        return None if taken is None else Observed(stream, taken)

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Keep a turn that a model completed. A client sends what failed again."""
        served = exchange.served_by
        if served is None or outcome.kind != "completed" or outcome.status >= 400:
            return
        if (of := exchange.state.get(_REPLAYED)) is not None:
            await self._replayed((exchange.caller.name, of), served.backend.zone)
            return
        taken, key = exchange.state.get(_TAKEN), key_of(exchange)
        if taken is None or key is None:
            return
        size = len(taken.request.raw)
        if self._size + size > _MOST_WAITING:
            self.log.warning("a turn is not recorded: too many wait to be written")
            return
        self._size += size
        self._waiting.append(Ended(key, taken, facts_of(exchange, outcome)))
        self._ready.set()

    # ── for other plugins: `plugway_tools.JudgesCalls` ───────────────────────────────────────

    def judge_call(self, call: ToolCall, spec: ToolSpec) -> Verdict:
        """A replay runs no tool."""
        if call.exchange.state.get(_REPLAYED) is not None:
            return Verdict("denied", "a replay runs no tool")
        return Verdict("undecided", "the recorder has no rule about it")

    # ── for other plugins: `plugway_endpoints.ReadsLines` ────────────────────────────────────

    def reads_line(self, line: GatewayLine) -> bool:
        """`@plugway record` and its variants; an unknown one is left to `switch`, which says so."""
        return wish_in(line) is not None

    # ── the lifespan ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Recordings go on after a restart and after a reload."""
        self._keeper = next((one for _, one in gateway.find(KeepsConversations)), None)
        before = gateway.predecessor.find(Recorder) if gateway.predecessor else []
        for name, other in before:
            if name == self.name:
                self.known, self.seen = other.known, other.seen
        await self._refresh()
        name = f"{self.name} stops"
        async with (
            topic_of(gateway, name, self._learn) as self._stops,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._write_all)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                with anyio.move_on_after(_LAST_SECONDS, shield=True):
                    await self.flush()

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """Lists, reads, removes, starts and stops recordings; callers reach only their own."""
        return Routes(self, gateway).all()

    def _learn(self, name: str, value: Any, seconds: float) -> None:
        """A person has stopped a recording by another gateway."""
        caller, _, session = name.rpartition("\n")
        if value is not None and self.known.get((caller, session)) == "":
            self.known[caller, session] = answers.STOPPED
            self._stopped.append((caller, session))
            self._ready.set()

    async def flush(self) -> None:
        """Write what has ended; returns when it is in the file."""
        async with self._writing:
            while self._stopped:
                await self._end(self._stopped.pop())
            while self._waiting:
                ended = self._waiting[0]  # it stays if this task is cancelled before the write
                why = await anyio.to_thread.run_sync(self._write, ended)
                self._waiting.popleft()
                self._size -= len(ended.taken.request.raw)
                if why is None:  # it was removed meanwhile
                    self.known.pop(ended.key, None)
                elif why and self.known.get(ended.key) == "":
                    self.known[ended.key] = why

    # ── what a person asks for ───────────────────────────────────────────────────────────────

    async def switch(self, key: Key, on: bool) -> str:
        """Start or stop a recording; returns why that failed, or nothing.

        What ended before a stop is written first, if that is quick: a hook has 2 s."""
        if self._stops is not None:  # a recording is of one gateway, a stop is for all
            self._stops.put("\n".join(key), None if on else answers.STOPPED, KEPT_SECONDS)
        if not on:
            with anyio.move_on_after(_FLUSH_SECONDS):
                await self.flush()
        try:
            if on:
                why = await anyio.to_thread.run_sync(self.store.start, key)
                if not why:
                    self.known[key] = ""
                return why
            if key in self.known:
                self.known[key] = answers.STOPPED
                await anyio.to_thread.run_sync(self.store.stop, key, answers.STOPPED)
        except (PlugwayError, OSError) as error:
            self.log.warning("%s", error)
            return "the file of recordings cannot be used; see the gateway's log"
        return ""

    async def _end(self, key: Key) -> None:
        try:
            await anyio.to_thread.run_sync(self.store.stop, key, answers.STOPPED)
        except (PlugwayError, OSError) as error:
            self.log.warning("%s", error)

    async def _heed(self, wish: Wish, key: Key | None, exchange: Exchange) -> None:
        said = await self._obey(wish, key)
        if wish.alone:
            exchange.state[_SAID] = said
        elif said and (key is None or self.known.get(key) != ""):
            exchange.note(self.name, said, stage="record")

    async def _obey(self, wish: Wish, key: Key | None) -> str:
        """Do what a person asks for; returns a sentence about it."""
        if key is None:
            return answers.NO_SESSION
        name, state = short_of(key), self.known.get(key)
        if not wish.line and (state == "" if wish.on else state != ""):
            return ""
        if wish.on and not wish.line and state is not None:
            return ""  # what its person stopped, a header does not start again
        if why := await self.switch(key, wish.on):
            return f"Nothing was changed: {why}."
        if wish.on:
            return answers.started(name, self.options)
        return answers.stopped(state == "", name)

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    async def _refresh(self) -> None:
        """Read which conversations have recordings; none is recorded if that fails."""
        try:
            found = await anyio.to_thread.run_sync(self.store.conversations)
        except (PlugwayError, OSError) as error:
            self.log.warning("nothing is recorded: %s", error)
            found = []
        self.known.clear()
        self.known.update({one.key: one.why for one in found})

    async def _write_all(self) -> None:
        while True:
            with anyio.move_on_after(_EVERY_SECONDS) as waited:
                await self._ready.wait()
            if waited.cancelled_caught:
                await self._refresh()  # which removes what is too old
            self._ready = anyio.Event()
            await self.flush()

    def _write(self, ended: Ended) -> str | None:
        try:
            return self.store.add(ended.key, ended.content())
        except (PlugwayError, OSError, TypeError, ValueError) as error:
            what = error if isinstance(error, PlugwayError | OSError) else type(error).__name__
            self.log.warning("a turn is not recorded: %s", what)
            return "its last turn could not be written; see the gateway's log"

    async def _replayed(self, key: Key, zone: str) -> None:
        if key in self.known:
            try:
                await anyio.to_thread.run_sync(self.store.add_zone, key, zone)
            except (PlugwayError, OSError) as error:
                self.log.warning("%s", error)


def key_of(exchange: Exchange) -> Key | None:
    """The conversation of an exchange; None if the client names none."""
    session = exchange.session_id
    return (exchange.caller.name, session) if session and len(session) <= 200 else None


def _wish(request: MessagesRequest, exchange: Exchange) -> Wish | None:
    """What is asked for."""
    line = typed_line(request, exchange)
    return (wish_in(line) if line else None) or header_wish(request)
