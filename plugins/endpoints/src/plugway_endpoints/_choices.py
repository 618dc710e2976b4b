"""The endpoint that each conversation has chosen: in memory, and in a file for restarts.

A lookup is two dictionary reads; the file is written in a thread when a choice changes. Several
gateways share choices by a topic, and what is there replaces what a file says.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from plugway import Bounded
from plugway_endpoints._topics import KEPT_SECONDS, Topic

log = logging.getLogger("plugway.endpoints")

T = TypeVar("T")

MAX_CHOICES: Final = 5000
AGENTS: Final = "*"
"""The agent of a choice that applies to all subagents of a session."""

_TABLE: Final = """create table if not exists choices (
    session text not null, agent text not null, target text not null, model text not null,
    zones text not null, at real not null, primary key (session, agent)) without rowid"""
_INSERT: Final = "insert or replace into choices values (?, ?, ?, ?, ?, ?)"
_DELETE: Final = "delete from choices where session = ? and agent = ?"
_KEEP_NEWEST: Final = """delete from choices where (session, agent) not in
    (select session, agent from choices order by at desc limit ?)"""


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice of a conversation."""

    target: str
    """`instance/model`, or `router/alias`."""
    model: str
    """Model id that the client requested when the choice was made; the choice applies only to
    requests for it. Empty: any."""
    zones: tuple[str, ...]
    """Zones that the conversation had been in, or had consent for, when the choice was made."""
    at: float
    """Time of the choice, in seconds since 1970."""


class Choices:
    """Choices by session and agent: `""` is the main conversation, `*` all subagents.

    Bounded: the oldest are dropped first, and all that are older than 30 days.
    """

    def __init__(self, path: Path | None) -> None:
        """`path` is the file; None keeps choices in memory only."""
        self._path = path
        self._entries: Bounded[tuple[str, str], Choice] = Bounded(MAX_CHOICES)
        self._loaded = self._offered = False
        self._topic: Topic | None = None
        self._received: dict[tuple[str, str], Choice | None] = {}
        """Choices of other gateways that the file does not have yet; None for a removed one."""
        self._arrived = anyio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, session: str | None, agent: str | None, model: str) -> Choice | None:
        """The choice that applies to a request: of its subagent, of all subagents, of the session.

        A session's choice applies only to the model id that it was made for: after `/model`, and
        for the client's own requests to another model, the configuration decides.
        """
        if session is None or not self._entries:
            return None
        if agent:
            for key in ((session, agent), (session, AGENTS)):
                if key in self._entries:
                    return self._entries[key]
        found = self._entries.get((session, ""))
        return found if found is not None and found.model in ("", model) else None

    async def load(self) -> None:
        """Read the file, once. A corrupt file is renamed, with a warning in the log."""
        if self._loaded:
            return
        self._loaded = True
        for session, agent, choice in await self._in_thread(self._read) or ():
            self._entries.setdefault((session, agent), choice)

    async def set(self, session: str, agent: str, choice: Choice) -> None:
        """Remember a choice; a choice of the session removes those of its subagents."""
        if agent == "":
            for key in [key for key in self._entries if key[0] == session]:
                del self._entries[key]
                self._put(key, None)
        self._entries[session, agent] = choice
        self._put((session, agent), choice)
        await self._in_thread(lambda: self._write(session, agent, choice))

    async def clear(self, session: str, agent: str | None = None) -> bool:
        """Forget the choice of an agent, or all of a session if None; whether there was one."""
        gone = [k for k in self._entries if k[0] == session and agent in (None, k[1])]
        for key in gone:
            del self._entries[key]
            self._put(key, None)
        await self._in_thread(lambda: self._remove(gone))
        return bool(gone)

    # ── other gateways ───────────────────────────────────────────────────────────────────────

    def receive(self, name: str, value: Any, seconds: float) -> None:
        """Another gateway has set or removed a choice; `seconds` is how long it is still kept."""
        session, _, agent = name.partition("\n")
        choice = None
        if value is not None:
            zones = tuple(map(str, value["zones"]))
            at = time.time() - KEPT_SECONDS + seconds  # by this clock
            choice = Choice(str(value["target"]), str(value["model"]), zones, at)
        if choice is not None:
            self._entries[session, agent] = choice
        else:
            self._entries.pop((session, agent), None)
        self._received[session, agent] = choice
        self._arrived.set()

    async def share(self, topic: Topic) -> None:
        """Share choices by `topic`, until cancelled. What it does not have yet is put there."""
        if not self._offered:
            for key, choice in self._entries.items():
                if key not in self._received:
                    self._put(key, choice, topic)
        self._offered, self._topic = True, topic
        try:
            while True:
                await self._arrived.wait()
                self._arrived, received = anyio.Event(), self._received
                self._received = {}
                await self._in_thread(partial(self._write_received, received))
        finally:
            if self._topic is topic:
                self._topic = None

    async def reservation(self) -> str:
        """Wait until all gateways know the last choice. Returns a sentence, after a space, if that
        is not possible now; otherwise nothing."""
        if self._topic is None or await self._topic.written():
            return ""
        return " The database does not respond, so other gateways will know this only when it does."

    def _put(self, key: tuple[str, str], choice: Choice | None, topic: Topic | None = None) -> None:
        if (topic := topic or self._topic) is None:
            return
        value, seconds = None, KEPT_SECONDS
        if choice is not None:
            value = {"target": choice.target, "model": choice.model, "zones": choice.zones}
            seconds = min(KEPT_SECONDS, choice.at + KEPT_SECONDS - time.time())
        topic.put("\n".join(key), value, seconds)

    # ── the file ─────────────────────────────────────────────────────────────────────────────

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        if self._path is None:
            return None
        try:
            return await anyio.to_thread.run_sync(work)
        except (OSError, sqlite3.Error) as error:
            log.warning("cannot use %s, so choices are kept in memory only: %s", self._path, error)
            return None

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        assert self._path is not None
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        with closing(sqlite3.connect(self._path, timeout=2)) as connection, connection:
            connection.execute(_TABLE)
            yield connection

    def _read(self) -> list[tuple[str, str, Choice]]:
        try:
            with self._open() as db:
                db.execute("delete from choices where at < ?", (time.time() - KEPT_SECONDS,))
                rows = db.execute("select * from choices order by at desc limit ?", (MAX_CHOICES,))
                found = [
                    (session, agent, Choice(target, model, tuple(zones.split()), at))
                    for session, agent, target, model, zones, at in rows
                ]
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            assert self._path is not None
            aside = self._path.replace(self._path.with_suffix(".broken"))
            log.warning("%s is corrupt (%s) and was moved to %s", self._path, error, aside)
            return []
        return found[::-1]

    def _write(self, session: str, agent: str, choice: Choice) -> None:
        with self._open() as db:
            if agent == "":
                db.execute("delete from choices where session = ?", (session,))
            db.execute(_INSERT, _row((session, agent), choice))
            db.execute(_KEEP_NEWEST, (MAX_CHOICES,))

    def _write_received(self, received: Mapping[tuple[str, str], Choice | None]) -> None:
        with self._open() as db:
            db.executemany(_DELETE, received)
            rows = [_row(key, choice) for key, choice in received.items() if choice is not None]
            db.executemany(_INSERT, rows)
            db.execute(_KEEP_NEWEST, (MAX_CHOICES,))

    def _remove(self, keys: list[tuple[str, str]]) -> None:
        with self._open() as db:
            db.executemany(_DELETE, keys)


def _row(key: tuple[str, str], choice: Choice) -> tuple[object, ...]:
    return (*key, choice.target, choice.model, " ".join(choice.zones), choice.at)
