"""The file of recordings: which conversations are recorded, and their turns, encrypted.

A SQLite file of this user. In plain text it has only ids of conversations, names of callers, times,
sizes and zones. Every method blocks, so call it in a thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import platformdirs

from plugway import PlugwayError
from plugway_recorder._vault import SALT_BYTES, Altered, Vault

MOST_CONVERSATIONS: Final = 1000
_DAY: Final = 24 * 3600.0
_TABLES: Final = """
create table if not exists meta (salt blob not null);
create table if not exists conversations (
    caller text not null, session text not null, why text not null, began real not null,
    changed real not null, turns integer not null, bytes integer not null, zones text not null,
    primary key (caller, session)) without rowid;
create table if not exists turns (
    caller text not null, session text not null, number integer not null, key text not null,
    data blob not null, primary key (caller, session, number));
"""

Key = tuple[str, str]
"""A conversation: its caller's name, and the id of its session."""


class Unreadable(PlugwayError):
    """Recordings cannot be read; the message has the fix."""


class Recorded(NamedTuple):
    """A conversation with a recording."""

    caller: str
    session: str
    why: str
    """Why it is not recorded any more; empty while it is."""
    began: float
    changed: float
    turns: int
    bytes: int
    zones: tuple[str, ...]
    """Where its turns were replayed; those it was served in are in the turns."""

    @property
    def key(self) -> Key:
        """The conversation."""
        return self.caller, self.session

    @property
    def short(self) -> str:
        """The id as its caller knows it."""
        return short_of(self.key)


@dataclass(frozen=True, slots=True)
class Limits:
    """See `RecorderOptions`."""

    turns: int
    bytes: int
    days: int


class Store:
    """Recordings in the file at `path`."""

    def __init__(self, path: Path, key: str, limits: Limits) -> None:
        self.path = path
        self._key = key
        self._limits = limits
        self._vault: Vault | None = None

    # ── conversations ────────────────────────────────────────────────────────────────────────

    def conversations(self) -> list[Recorded]:
        """All that have a recording, the newest first; those that are too old are removed."""
        with self._open() as db:
            self._expire(db)
            rows = db.execute("select * from conversations order by changed desc").fetchall()
        return [Recorded._make((*row[:-1], tuple(row[-1].split()))) for row in rows]

    def start(self, key: Key) -> str:
        """Record a conversation from now on; returns why that cannot be, or nothing."""
        with self._open() as db:
            self._expire(db)
            row = _row(db, key)
            if row is not None and row[0] >= self._limits.turns:
                return f"its recording has {row[0]:,} turns already, the most that are kept"
            if self._full(db):
                return "the recordings use all of their space: remove some"
            (count,) = db.execute("select count(*) from conversations").fetchone()
            if row is None and count >= MOST_CONVERSATIONS:
                return f"{count:,} conversations are recorded already: remove some"
            now = time.time()
            db.execute(
                "insert into conversations values (?, ?, '', ?, ?, 0, 0, '') "
                "on conflict do update set why = '', changed = excluded.changed",
                (*key, now, now),
            )
        return ""

    def stop(self, key: Key, why: str) -> None:
        """Record a conversation no more."""
        with self._open() as db:
            _end(db, key, why)

    def remove(self, key: Key) -> int:
        """Remove a recording; the number of its turns."""
        with self._open() as db:
            _remove(db, key)
            (turns,) = db.execute("select changes()").fetchone()
        return turns

    def add_zone(self, key: Key, zone: str) -> None:
        """Remember where turns of a conversation were replayed."""
        with self._open() as db:
            row = _row(db, key)
            zones = set(row[1].split()) if row else set[str]()
            if row is not None and zone not in zones and " " not in zone:
                text = " ".join(sorted({*zones, zone}))
                where = "caller = ? and session = ?"
                db.execute(f"update conversations set zones = ? where {where}", (text, *key))

    # ── turns ────────────────────────────────────────────────────────────────────────────────

    def add(self, key: Key, content: bytes) -> str | None:
        """Keep a turn. Returns why the recording ends with or before it, or nothing; None if the
        conversation is not recorded any more."""
        with self._open() as db:
            row = _row(db, key)
            if row is None or row[2]:
                return None
            number = row[0] + 1
            data = self._opened(db).seal(content, _place(key, number))
            if self._full(db, len(data)):
                why = "the recordings use all of their space"
                _end(db, key, why)
                return why
            db.execute(
                "insert into turns values (?, ?, ?, ?, ?)",
                (*key, number, self._opened(db).id, data),
            )
            db.execute(
                "update conversations set turns = ?, bytes = bytes + ?, changed = ? "
                "where caller = ? and session = ?",
                (number, len(data), time.time(), *key),
            )
            if number >= self._limits.turns:
                why = f"it has {number:,} turns, the most that are kept"
                _end(db, key, why)
                return why
        return ""

    def turns(self, key: Key, only: int | None = None) -> Iterator[tuple[int, bytes]]:
        """The turns of a conversation with their numbers, or one.

        Raises:
            Unreadable: one is missing or was altered, or another key encrypted it.
        """
        with self._open() as db:
            row = _row(db, key)
            numbers = range(1, (row[0] if row else 0) + 1) if only is None else (only,)
            vault = self._opened(db)
            for number in numbers:
                yield number, self._turn(db, vault, key, number)

    def _turn(self, db: sqlite3.Connection, vault: Vault, key: Key, number: int) -> bytes:
        where = "where caller = ? and session = ? and number = ?"
        row = db.execute(
            f"select key, cast(data as blob) from turns {where}", (*key, number)
        ).fetchone()
        name = short_of(key)
        remedy = f"Restore the file from a backup, or remove it: plugway recordings rm {name}"
        if row is None:
            raise Unreadable(f"turn {number} of `{name}` is missing in {self.path}. {remedy}")
        if row[0] != vault.id:
            raise Unreadable(
                f"turn {number} of `{name}` was encrypted with another key than `key` names now. "
                f"Put the earlier key back, or remove it: plugway recordings rm {name}"
            )
        try:
            return vault.open(row[1], _place(key, number))
        except Altered:
            what = f"turn {number} of `{name}` in {self.path} was altered or is damaged"
            raise Unreadable(f"{what}. {remedy}") from None

    # ── the file ─────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        """One transaction. Raises `Unreadable`, or `OSError`."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never open and close it here: that would drop the locks of other threads on it.
        self.path.touch(mode=0o600)
        self.path.chmod(0o600)  # also if somebody else made it
        try:
            with closing(sqlite3.connect(self.path, timeout=5, isolation_level=None)) as db:
                db.execute("pragma secure_delete = on")
                db.executescript(_TABLES)
                db.execute("begin immediate")
                with db:
                    yield db
        except sqlite3.DatabaseError as error:
            what = f"cannot use the recordings in {self.path}: {error}"
            if not isinstance(error, sqlite3.OperationalError):
                what += ". Restore the file from a backup, or move it away"
            raise Unreadable(what) from None

    def _opened(self, db: sqlite3.Connection) -> Vault:
        if self._vault is None:
            row = db.execute("select salt from meta").fetchone()
            if row is None:
                row = (os.urandom(SALT_BYTES),)
                db.execute("insert into meta values (?)", row)
            self._vault = Vault(self._key, row[0])
        return self._vault

    def _full(self, db: sqlite3.Connection, more: int = 1) -> bool:
        (used,) = db.execute("select coalesce(sum(bytes), 0) from conversations").fetchone()
        return used + more > self._limits.bytes

    def _expire(self, db: sqlite3.Connection) -> None:
        oldest = time.time() - self._limits.days * _DAY
        old = db.execute("select caller, session from conversations where changed < ?", (oldest,))
        for key in old.fetchall():
            _remove(db, key)


def short_of(key: Key) -> str:
    """The id of a conversation as its caller knows it."""
    return key[1].removeprefix(f"{key[0]}/")


def recordings_path(name: str) -> Path:
    """The file of the plugin that the configuration names so."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "recordings" / f"{name}.db"


def _row(db: sqlite3.Connection, key: Key) -> tuple[int, str, str] | None:
    """Number of turns, zones, and why it ended."""
    select = "select turns, zones, why from conversations where caller = ? and session = ?"
    found: Any = db.execute(select, key).fetchone()
    return found


def _end(db: sqlite3.Connection, key: Key, why: str) -> None:
    db.execute("update conversations set why = ? where caller = ? and session = ?", (why, *key))


def _remove(db: sqlite3.Connection, key: Key) -> None:
    """Remove a conversation and its turns, the turns last."""
    db.execute("delete from conversations where caller = ? and session = ?", key)
    db.execute("delete from turns where caller = ? and session = ?", key)


def _place(key: Key, number: int) -> str:
    return "\0".join((*key, str(number)))
