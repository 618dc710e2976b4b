"""Ended exchanges of the last days, in a SQLite file: what the page shows of them, and no more.

Every call opens the file in a thread. If it cannot be used, the log says so, and exchanges are kept
in memory only.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
import orjson
import platformdirs

from plugway import as_object
from plugway_dashboard._search import Query, searched

T = TypeVar("T")

MAX_DATA: Final = 64 * 1024
"""Bytes of one exchange, above which its receipt is shortened."""
_FEW_ENTRIES: Final = 40
_WARN_SECONDS: Final = 600.0
_MOST_TOKENS: Final = 2**40
"""What a server may claim to have read or written; the sum of all rows fits 64 bits."""
_DAY: Final = 24 * 3600.0
_FIELDS: Final = frozenset(
    (
        *("request_id", "caller", "session_id", "agent_id", "model_asked", "served_by", "route"),
        *("attempts", "receipt", "ended", "outcome", "status", "error", "usage"),
    )
)
"""What the page needs of an exchange."""
_SUMS: Final = (
    "count(*), sum(prompt), sum(cached), sum(output), sum(not completed), "
    "coalesce(sum(dollars), 0), sum(dollars is null)"
)
_TABLE: Final = """create table if not exists exchanges (
    number integer primary key, ended real not null, caller text not null,
    model text not null, day text not null, completed integer not null, prompt integer not null,
    cached integer not null, output integer not null, dollars real, words text not null,
    data blob not null)"""
log = logging.getLogger("plugway.dashboard")


def history_path(name: str) -> Path:
    """The file of the plugin that the configuration names so."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "dashboard" / f"{name}.db"


@dataclass(frozen=True, slots=True)
class Found:
    """Exchanges that fit a search."""

    items: Sequence[Mapping[str, Any]]
    """The newest first; `row` is the place of each in the file."""
    more: bool
    """Whether there are older ones that fit, too."""


class _MovedAsideError(Exception):
    """The file was corrupt; the next call begins another one."""


class History:
    """The exchanges of the last `days`, at most `rows` of them."""

    def __init__(self, path: Path, *, days: int, rows: int) -> None:
        self.path = path
        self._days = days
        self._rows = rows
        self._warned = -_WARN_SECONDS

    async def newest(self, most: int) -> Sequence[Mapping[str, Any]]:
        """The last exchanges, the oldest first."""
        found = await self._in_thread(lambda: self._find(Query(), None, most))
        return [] if found is None else found.items[::-1]

    async def add(self, items: Sequence[Mapping[str, Any]]) -> bool:
        """Write exchanges, and remove those that are too old or too many; whether it worked."""
        return await self._in_thread(lambda: self._add(items)) is not None

    async def find(self, query: Query, before: int | None, most: int) -> Found | None:
        """The newest exchanges that fit, of those with a `row` below `before`; None if the file
        cannot be used."""
        return await self._in_thread(lambda: self._find(query, before, most))

    async def totals(self, query: Query) -> Mapping[str, Sequence[Mapping[str, Any]]] | None:
        """The sums of what fits, by caller, model and day; None if the file cannot be used."""
        return await self._in_thread(lambda: self._totals(query))

    # ── the file ─────────────────────────────────────────────────────────────────────────────

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        try:
            return await anyio.to_thread.run_sync(work)
        except _MovedAsideError:
            return None
        except (OSError, sqlite3.Error) as error:
            if time.monotonic() - self._warned >= _WARN_SECONDS:
                self._warned = time.monotonic()
                log.warning(
                    "cannot use the history in %s: %s. Until that is fixed, what ends is kept in "
                    "memory only",
                    self.path,
                    error,
                )
            return None

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
            raise _MovedAsideError from error

    def _add(self, items: Sequence[Mapping[str, Any]]) -> bool:
        with self._open() as db:
            db.executemany(
                "insert into exchanges (number, ended, caller, model, day, completed, prompt, "
                "cached, output, dollars, words, data) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                list(_rows(items)),
            )
            db.execute(
                "delete from exchanges where ended < ? or number <= "
                "(select number from exchanges order by number desc limit 1 offset ?)",
                (time.time() - self._days * _DAY, self._rows),
            )
        return True

    def _find(self, query: Query, before: int | None, most: int) -> Found:
        where, values = self._where(query)
        if before is not None:
            where, values = f"{where} and number < ?", [*values, before]
        with self._open() as db:
            select = f"select number, data from exchanges where {where}"
            rows = db.execute(f"{select} order by number desc", values)
            found = list(islice(_readable(rows), most + 1))
        return Found(found[:most], len(found) > most)

    def _totals(self, query: Query) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        where, values = self._where(query)
        names = ("name", "requests", "prompt", "cached", "output", "failed", "dollars", "unpriced")
        sums: dict[str, Sequence[Mapping[str, Any]]] = {}
        with self._open() as db:
            for by in ("caller", "model", "day"):
                rows = db.execute(
                    f"select {by}, {_SUMS} from exchanges where {where} group by {by} "
                    f"order by {'day desc' if by == 'day' else 'sum(prompt) desc'} limit 400",
                    values,
                )
                sums[by] = [dict(zip(names, row, strict=True)) for row in rows]
        return sums

    def _where(self, query: Query) -> tuple[str, list[Any]]:
        """A condition, with nothing of the query in its text, and its values."""
        parts, values = ["ended >= ?"], list[Any]([time.time() - self._days * _DAY])
        for word in query.words:
            parts.append("instr(words, ?) > 0")
            values.append(word)
        if query.failed:
            parts.append("not completed")
        if query.caller is not None:
            parts.append("caller = ?")
            values.append(query.caller)
        return " and ".join(parts), values


def _readable(rows: Iterable[tuple[int, Any]]) -> Iterator[Mapping[str, Any]]:
    """The exchanges in rows, without rows that are damaged or of a version with other fields."""
    for number, data in rows:
        try:
            item = as_object(orjson.loads(data))
        except orjson.JSONDecodeError:
            continue
        if item.keys() >= _FIELDS:
            yield {**item, "row": number}


def _rows(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for item in items:
        try:
            yield _row(item)
        except (TypeError, ValueError) as error:  # such as text that is not valid Unicode
            log.warning("request %s is not in the history: %s", item["request_id"], error)


def _row(item: Mapping[str, Any]) -> tuple[Any, ...]:
    usage = item["usage"]
    return (
        item["number"],
        item["ended"],
        item["caller"],
        item["served_by"] or item["model_asked"],
        time.strftime("%Y-%m-%d", time.localtime(item["ended"])),
        item["outcome"] == "completed",
        min(usage["input"] + usage["cache_read"] + usage["cache_creation"], _MOST_TOKENS),
        min(usage["cache_read"], _MOST_TOKENS),
        min(usage["output"], _MOST_TOKENS),
        item.get("dollars"),
        searched(item).encode().decode(),
        _data(item),
    )


def _data(item: Mapping[str, Any]) -> bytes:
    """The exchange as JSON; a receipt that is very long is shortened, and says so."""
    kept = {name: value for name, value in item.items() if name not in ("number", "row")}
    data = orjson.dumps(kept, default=str)
    if len(data) <= MAX_DATA:
        return data
    left = len(item["receipt"]) - _FEW_ENTRIES
    more = {"stage": "history", "plugin": "dashboard", "what": f"{left} more entries were not kept"}
    few = [{**entry, "what": entry["what"][:500]} for entry in item["receipt"][:_FEW_ENTRIES]]
    return orjson.dumps({**kept, "receipt": [*few, more] if left > 0 else few}, default=str)
