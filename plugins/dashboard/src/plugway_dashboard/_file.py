"""The history in a SQLite file of this user. Every call opens it in a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
import platformdirs

from plugway_dashboard._history import History, HistoryError, Values, log
from plugway_dashboard._search import Query

T = TypeVar("T")

_TABLE: Final = """create table if not exists exchanges (
    number integer primary key, ended real not null, caller text not null,
    model text not null, day text not null, completed integer not null, prompt integer not null,
    cached integer not null, output integer not null, dollars real, words text not null,
    data blob not null)"""


def history_path(name: str) -> Path:
    """The file of the plugin that the configuration names so."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "dashboard" / f"{name}.db"


class FileHistory(History):
    """The history in the file at `path`."""

    _table = "exchanges"

    def __init__(self, path: Path, *, days: int, rows: int) -> None:
        super().__init__(days=days, rows=rows)
        self.path = path

    def _contains(self, name: str, query: Query) -> str:
        return f"instr(words, :{name}) > 0"

    async def _read(self, statement: str, values: Values) -> Sequence[Sequence[Any]]:
        return await self._run(lambda db: db.execute(statement, values).fetchall())

    async def _write(self, statement: str, values: Sequence[Values]) -> int:
        return await self._run(lambda db: db.executemany(statement, values).rowcount)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(self._opened, work)
        except (OSError, sqlite3.Error) as error:
            raise HistoryError(f"{self.path}: {error}") from error

    def _opened(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._open() as connection:
            return work(connection)

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        self.path.chmod(0o600)  # also if somebody else made it
        try:
            with closing(sqlite3.connect(self.path, timeout=2)) as connection, connection:
                connection.execute("pragma secure_delete = on")
                connection.execute(_TABLE)
                yield connection
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError):
                raise
            aside = self.path.replace(self.path.with_suffix(".broken"))
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
            log.warning("%s is corrupt (%s) and was moved to %s", self.path, error, aside)
            raise HistoryError from error  # the next call begins another file
