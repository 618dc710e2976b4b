"""How statements reach a database: SQLite in threads of this process, PostgreSQL by asyncpg.

Work is a plain function of a SQLAlchemy connection. With SQLite it runs as a whole in a thread: one
switch of threads per transaction takes a quarter of the time of one per statement (aiosqlite).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import EACCES, EISDIR
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, Protocol, TypeVar

import anyio.to_thread
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from plugway_store._errors import StoreError
from plugway_store._options import StoreOptions

T = TypeVar("T")
Work = Callable[[Connection], T]

_EFFECTIVE: Final = os.access in os.supports_effective_ids
_READERS: Final = 4
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON")
"""With `synchronous=NORMAL`, a crash of the program loses nothing and a power failure at most the
last transactions, but no commit waits for the disk: https://www.sqlite.org/pragma.html."""


class Runs(Protocol):
    """Runs work in a database."""

    async def read(self, work: Work[T]) -> T:
        """Run it without a transaction."""
        ...

    async def write(self, work: Work[T]) -> T:
        """Run it in a transaction: committed at its end, rolled back if it raises."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Sqlite:
    """An SQLite file: one thread writes, several read."""

    def __init__(self, options: StoreOptions) -> None:
        """Create the file if there is none. Raises `StoreError`."""
        self._place = options.place
        self._seconds = options.busy_seconds
        _create_file(options)
        self._writing = _engine(options.database, writes=True, seconds=self._seconds)
        self._reading = _engine(options.database, writes=False, seconds=self._seconds)
        self._writer = ThreadPoolExecutor(1, "plugway-store-writer")
        self._readers = ThreadPoolExecutor(_READERS, "plugway-store-reader")

    async def read(self, work: Work[T]) -> T:
        """Run it in a thread that reads."""
        return await self._run(self._readers, partial(_read, self._reading, work))

    async def write(self, work: Work[T]) -> T:
        """Run it in the thread that writes, which excludes the writers of other processes too."""
        return await self._run(self._writer, partial(in_transaction, self._writing, work))

    async def close(self) -> None:
        """Wait for what runs, and close the file."""
        await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        for executor in (self._readers, self._writer):
            executor.shutdown()
        for engine in (self._reading, self._writing):
            engine.dispose()

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        latest = time.monotonic() + self._seconds

        def started() -> T:
            if time.monotonic() > latest:  # each in the queue before it waited for a lock
                fix = "another program is writing: close it, or try again"
                raise StoreError(self._place, "database is locked", fix, "busy")
            return work()

        return await asyncio.get_running_loop().run_in_executor(executor, started)


class Postgresql:
    """A PostgreSQL database."""

    def __init__(self, options: StoreOptions) -> None:
        self._writing = _async_engine(options, options.busy_seconds)
        self._reading = self._writing.execution_options(isolation_level="AUTOCOMMIT")

    async def read(self, work: Work[T]) -> T:
        """Run it; each statement commits by itself."""
        async with self._reading.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Work[T]) -> T:
        """Run it in a transaction with the isolation "read committed"."""
        async with self._writing.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Close all connections."""
        await self._writing.dispose()


def open_engine(options: StoreOptions) -> Runs:
    """The engine for the database of the options; connections are opened when needed."""
    if not options.is_postgresql:
        return Sqlite(options)
    if find_spec("asyncpg") is None:
        fix = "run `pip install './plugins/store[postgresql]'`"
        raise StoreError(options.place, "the package `asyncpg` is not installed", fix)
    return Postgresql(options)


def run_once(options: StoreOptions, work: Work[T], seconds: float) -> T:
    """Run work in a transaction of its own connection, which may take so long; for threads."""
    if options.is_postgresql:
        return asyncio.run(_run_once(options, work, seconds))
    engine = _engine(options.database, writes=True, seconds=seconds)
    try:
        return in_transaction(engine, work)
    finally:
        engine.dispose()


async def _run_once(options: StoreOptions, work: Work[T], seconds: float) -> T:
    engine = _async_engine(options, seconds)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def in_transaction(engine: Engine, work: Work[T]) -> T:
    """Run work in a transaction."""
    with engine.begin() as connection:
        return work(connection)


def _read(engine: Engine, work: Work[T]) -> T:
    with engine.connect() as connection:
        return work(connection)


def _async_engine(options: StoreOptions, seconds: float) -> AsyncEngine:
    return create_async_engine(
        options.database,
        pool_size=options.connections,
        max_overflow=0,
        pool_timeout=seconds,
        connect_args={
            "timeout": options.busy_seconds,
            "command_timeout": seconds,
            "ssl": options.tls(),
        },
        skip_autocommit_rollback=True,
        hide_parameters=True,
    )


def _engine(url: URL, *, writes: bool, seconds: float) -> Engine:
    """An engine with one connection that writes, or with several that only read."""
    reading: dict[str, Any] = {
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
        "pool_use_lifo": True,
    }
    engine = create_engine(
        url,
        pool_size=1 if writes else _READERS,
        max_overflow=0,
        hide_parameters=True,
        # Python's `sqlite3` must not begin transactions itself.
        connect_args={"timeout": seconds, "isolation_level": None, "check_same_thread": False},
        **({} if writes else reading),
    )
    pragmas = _PRAGMAS if writes else (*_PRAGMAS, "query_only=ON")

    def prepare(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            _set(cursor, pragma, time.monotonic() + seconds)
        cursor.close()

    def begin(connection: Connection) -> None:
        # The lock is taken at the start: one that is taken at the first write fails at once,
        # without waiting, if another process wrote in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", prepare)
    if writes:
        event.listen(engine, "begin", begin)
    return engine


def _set(cursor: DBAPICursor, pragma: str, latest: float) -> None:
    """Set a pragma. That a new file gets a write-ahead log fails at once, without waiting, if
    another connection does the same."""
    while True:
        try:
            cursor.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > latest:
                raise
            time.sleep(0.01)  # noqa: TID251 - in a thread
        else:
            return


def _create_file(options: StoreOptions) -> None:
    """Create the file so that only this user can read it; SQLite would let everybody.

    One that exists is not opened: closing it would give up the locks that other connections of this
    process hold (section 2.2 of https://www.sqlite.org/howtocorrupt.html), and the next command
    would then delete the log to which the gateway goes on writing.
    """
    path = options.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=_EFFECTIVE):
            raise PermissionError(EACCES, os.strerror(EACCES))
    except OSError as error:
        reason = f"cannot be opened: {error.strerror}"
        fix = "choose a file in `url` that this user can create and write to"
        raise StoreError(str(path), reason, fix, "read-only") from None
