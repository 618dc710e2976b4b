"""One open database: reading, and transactions that write.

`_engines` runs the work, `_errors` explains what drivers report, `_schema` creates tables.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Connection, Executable, Row, Table, text

from plugway_store._counters import Counters, open_counters
from plugway_store._engines import Runs, open_engine, run_once
from plugway_store._errors import translated
from plugway_store._options import StoreOptions
from plugway_store._schema import Schema, migrate

T = TypeVar("T")
P = ParamSpec("P")
Values = Mapping[str, Any]

log = logging.getLogger("plugway.store")

_START_SECONDS: Final = 60.0
"""How long a gateway that starts waits for another one that migrates."""


class Store:
    """One open database.

    All operations raise `StoreError` with the place, the reason and a fix; a violated constraint
    raises `sqlalchemy.exc.IntegrityError`. They are short: they are not interrupted if the client
    leaves, and they fail after `busy_seconds` if the database does not respond.
    """

    def __init__(self, options: StoreOptions, counters: Counters, engine: Runs) -> None:
        self.place = options.place
        """The database in messages."""
        self.counters = counters
        """Counts requests and tokens against rates; see `Rate`."""
        self._options = options
        self._engine = engine

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]:
        """Which SQL the database speaks, for the few statements that differ."""
        return "postgresql" if self._options.is_postgresql else "sqlite"

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work(connection, …)` without a transaction: each statement sees what was committed
        before it. With SQLite, it cannot write.

        `work` is a plain function, which runs in a thread with SQLite. It uses only what it is
        given, and returns rows, not results that are still open.
        """
        return await self._shielded(self._engine.read(partial(_call, work, args, kwargs)))

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work(connection, …)` in one transaction: committed at its end, rolled back if it
        raises. `work` is a plain function, like that of `read`.

        With SQLite, transactions run one at a time, those of other processes included. With
        PostgreSQL (read committed) they run side by side: put a condition into the statement that
        writes, or lock rows by `with_for_update()`, which SQLite ignores.
        """
        return await self._shielded(self._engine.write(partial(_call, work, args, kwargs)))

    async def _shielded(self, work: Awaitable[T]) -> T:
        with translated(self.place), anyio.CancelScope(shield=True):
            return await work
        raise AssertionError("nothing cancels a shield")

    async def first(self, statement: Executable, values: Values | None = None) -> Row[Any] | None:
        """The first row of one statement, or None."""
        return await self.read(_first, statement, values)

    async def all(self, statement: Executable, values: Values | None = None) -> Sequence[Row[Any]]:
        """All rows of one statement."""
        return await self.read(_all, statement, values)

    async def execute(self, statement: Executable, values: Values | None = None) -> int:
        """Execute one statement in its own transaction; returns how many rows it changed."""
        return await self.write(_execute, statement, values)

    async def migrate(self, schema: Schema) -> None:
        """Bring the tables of a plugin to their newest form, and log what that took.

        Raises `StoreError` if the database has newer ones.
        """
        run = partial(migrate, self._options, schema, _START_SECONDS)
        if done := await anyio.to_thread.run_sync(run):
            log.info("%s: %s", self.place, done)


@asynccontextmanager
async def open_store(
    options: StoreOptions, counters: Counters | None = None
) -> AsyncGenerator[Store]:
    """Open the database, and create the SQLite file if there is none.

    `counters` are those of an earlier store to go on with, after a reload. Raises `StoreError`.
    """
    async with open_counters(options, counters) as opened:
        engine = await anyio.to_thread.run_sync(open_engine, options)
        try:
            with translated(options.place):  # which waits for a gateway that migrates
                await anyio.to_thread.run_sync(run_once, options, _check, _START_SECONDS)
            yield Store(options, opened, engine)
        finally:
            with anyio.CancelScope(shield=True):
                await engine.close()


def insert_into(connection: Connection, table: Table) -> Any:
    """An insert that can handle conflicts (`on_conflict_do_update`), which both databases write
    alike."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # only where it is used
    else:
        from sqlalchemy.dialects.sqlite import insert
    return insert(table)


def _check(connection: Connection) -> None:
    """Fails if the database cannot be written."""
    connection.execute(text("SELECT 1"))


def _call(
    work: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any], connection: Connection
) -> T:
    return work(connection, *args, **kwargs)


def _first(connection: Connection, statement: Executable, values: Values | None) -> Row[Any] | None:
    return connection.execute(statement, values).first()


def _all(
    connection: Connection, statement: Executable, values: Values | None
) -> Sequence[Row[Any]]:
    return connection.execute(statement, values).all()


def _execute(connection: Connection, statement: Executable, values: Values | None) -> int:
    return connection.execute(statement, values).rowcount
