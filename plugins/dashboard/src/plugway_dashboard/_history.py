"""Ended exchanges of the last days: what the page shows of them, and no more.

`_file` keeps them in a file of this user, `_stored` in the database of `store`; the statements are
the same. While neither can be used, the log says why, and exchanges are kept in memory only.
"""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

import anyio.to_thread
import orjson

from plugway import as_object
from plugway_dashboard._search import Query, searched

T = TypeVar("T")
Values = Mapping[str, Any]

MAX_DATA: Final = 64 * 1024
"""Bytes of one exchange, above which its receipt is shortened."""
PRUNE_SECONDS: Final = 60.0
"""How often those that are too old or too many are removed."""
PRUNED_AT_ONCE: Final = 1000
_PAGE: Final = 500
"""Rows that are read at once after some that are damaged."""
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
_COLUMNS: Final = (
    *("number", "ended", "caller", "model", "day", "completed"),
    *("prompt", "cached", "output", "dollars", "words", "data"),
)
_NAMES: Final = ("name", "requests", "prompt", "cached", "output", "failed", "dollars", "unpriced")
_SUMS: Final = (
    "count(*), cast(sum(prompt) as bigint), cast(sum(cached) as bigint), "
    "cast(sum(output) as bigint), sum(1 - completed), coalesce(sum(dollars), 0.0), "
    "count(*) - count(dollars)"
)
log = logging.getLogger("plugway.dashboard")


@dataclass(frozen=True, slots=True)
class Found:
    """Exchanges that fit a search."""

    items: Sequence[Mapping[str, Any]]
    """The newest first; `row` is the number of each, which a search below it begins with."""
    more: bool
    """Whether there are older ones that fit, too."""


class HistoryError(Exception):
    """The history cannot be used now. The message says where and why; empty if the log has it."""


class History(ABC):
    """The exchanges of the last `days`, at most `rows` of them, in the order of their numbers,
    which are times; those of several gateways may have the same.

    Statements have values by name (`:since`), which both SQLite and SQLAlchemy understand.
    """

    gateway: str = ""
    """The name of this gateway, if others write to the same history."""
    _table: ClassVar[str]
    _more_columns: ClassVar[Sequence[str]] = ()
    """With the values of `_more`."""
    _mine: ClassVar[str] = "true"
    """The condition for rows of this history."""
    _served_here: ClassVar[str] = "true"
    """The condition for rows of this gateway."""

    def __init__(self, *, days: int, rows: int) -> None:
        self._days = days
        self._rows = rows
        self._values: Values = {}
        """What the conditions `_mine` and `_served_here` need."""
        self._prune_at = 0.0
        self._warned = -_WARN_SECONDS
        names = (*self._more_columns, *_COLUMNS)
        self._insert = (
            f"insert into {self._table} ({', '.join(names)}) "
            f"values ({', '.join(f':{name}' for name in names)}) on conflict do nothing"
        )

    async def newest(self, most: int) -> Sequence[Mapping[str, Any]]:
        """The last exchanges of this gateway, the oldest first."""
        found = await self._tried(self._find(Query(), None, most, self._served_here))
        return [] if found is None else found.items[::-1]

    async def add(self, items: Sequence[Mapping[str, Any]]) -> bool:
        """Write exchanges; one that is there already stays as it is. Returns whether it worked.
        Now and then, remove those that are too old or too many."""
        rows = await anyio.to_thread.run_sync(list, self._rows_of(items))
        if rows and await self._tried(self._write(self._insert, rows)) is None:
            return False
        if self._prune_at <= time.monotonic():
            self._prune_at = time.monotonic() + PRUNE_SECONDS
            await self._tried(self._prune())
        return True

    async def find(self, query: Query, before: int | None, most: int) -> Found | None:
        """The newest exchanges that fit, of those with a `row` below `before`; None if the history
        cannot be used."""
        return await self._tried(self._find(query, before, most, "true"))

    async def totals(self, query: Query) -> Mapping[str, Sequence[Mapping[str, Any]]] | None:
        """The sums of what fits, by caller, model and day; None if the history cannot be used."""
        return await self._tried(self._totals(query))

    # ── what the places differ in ────────────────────────────────────────────────────────────

    @abstractmethod
    async def _read(self, statement: str, values: Values) -> Sequence[Sequence[Any]]:
        """All rows of a statement. Raises `HistoryError`."""

    @abstractmethod
    async def _write(self, statement: str, values: Sequence[Values]) -> int:
        """Execute a statement with each of the values, in one transaction; returns how many rows
        it changed. Raises `HistoryError`."""

    @abstractmethod
    def _contains(self, name: str, query: Query) -> str:
        """The condition that the words of a row contain the value of this name, as it is."""

    def _more(self, item: Mapping[str, Any]) -> Values:
        """The values of `_more_columns`."""
        return {}

    # ── the statements ───────────────────────────────────────────────────────────────────────

    async def _find(self, query: Query, before: int | None, most: int, also: str) -> Found:
        where, values = self._where(query)
        found: list[Mapping[str, Any]] = []
        size, more = most + 1, True
        while more and len(found) <= most:
            below = "" if before is None else " and number < :before"
            rows = await self._read(
                f"select number, data from {self._table} where {where} and {also}{below} "
                "order by number desc limit :size",
                {**values, "size": size, **({} if before is None else {"before": before})},
            )
            found += await anyio.to_thread.run_sync(list, _readable(rows))
            more = len(rows) == size
            before, size = rows[-1][0] if rows else before, _PAGE
        end = most
        while end < len(found) and found[end]["row"] == found[end - 1]["row"]:
            end += 1  # the next page is below all of this number
        return Found(found[:end], more or end < len(found))

    async def _totals(self, query: Query) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        where, values = self._where(query)
        sums: dict[str, Sequence[Mapping[str, Any]]] = {}
        for by in ("caller", "model", "day"):
            rows = await self._read(
                f"select {by}, {_SUMS} from {self._table} where {where} group by {by} "
                f"order by {'day desc' if by == 'day' else f'sum(prompt) desc, {by}'} limit 400",
                values,
            )
            sums[by] = [dict(zip(_NAMES, row, strict=True)) for row in rows]
        return sums

    async def _prune(self) -> None:
        """Remove what is too old, and then the oldest of too many, in small transactions."""
        numbers = f"select number from {self._table} where {self._mine}"
        newest = f"{numbers} order by number desc limit 1 offset :rows"
        values = {**self._values, "most": PRUNED_AT_ONCE}
        for condition, value in (
            ("ended < :since", {"since": self._since()}),
            (f"number <= ({newest})", {"rows": self._rows}),
        ):
            some = f"{numbers} and {condition} limit :most"
            delete = f"delete from {self._table} where {self._mine} and number in ({some})"
            while await self._write(delete, [{**values, **value}]) >= PRUNED_AT_ONCE:
                pass

    def _where(self, query: Query) -> tuple[str, dict[str, Any]]:
        """A condition, with nothing of the query in its text, and its values."""
        # `+` keeps databases from using the index on `ended`: almost all rows fit, in no order.
        parts, values = [self._mine, "+ended >= :since"], {**self._values, "since": self._since()}
        for number, word in enumerate(query.words):
            parts.append(self._contains(f"word{number}", query))
            values[f"word{number}"] = plain(word)
        if query.failed:
            parts.append("completed = 0")
        if query.caller is not None:
            parts.append("caller = :caller")
            values["caller"] = plain(query.caller)
        return " and ".join(parts), values

    def _since(self) -> float:
        return time.time() - self._days * _DAY

    def _rows_of(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Values]:
        for item in items:
            try:
                yield self._row(item)
            except (TypeError, ValueError) as error:  # such as what JSON cannot write
                log.warning("request %s is not in the history: %s", item["request_id"], error)

    def _row(self, item: Mapping[str, Any]) -> Values:
        usage = item["usage"]
        return {
            **self._more(item),
            "number": item["number"],
            "ended": float(item["ended"]),
            "caller": plain(item["caller"]),
            "model": plain(item["served_by"] or item["model_asked"]),
            "day": time.strftime("%Y-%m-%d", time.localtime(item["ended"])),
            "completed": int(item["outcome"] == "completed"),
            "prompt": min(
                usage["input"] + usage["cache_read"] + usage["cache_creation"], _MOST_TOKENS
            ),
            "cached": min(usage["cache_read"], _MOST_TOKENS),
            "output": min(usage["output"], _MOST_TOKENS),
            "dollars": item.get("dollars"),
            "words": plain(searched(item)),
            "data": _data(item),
        }

    async def _tried(self, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except HistoryError as error:
            if str(error) and time.monotonic() - self._warned >= _WARN_SECONDS:
                self._warned = time.monotonic()
                log.warning(
                    "cannot use the history in %s. Until that is fixed, what ends is kept in "
                    "memory only",
                    error,
                )
            return None


def plain(text: str) -> str:
    """The text as each database takes it: valid Unicode without NUL characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _readable(rows: Iterable[Sequence[Any]]) -> Iterator[Mapping[str, Any]]:
    """The exchanges in rows, without rows that are damaged or of a version with other fields."""
    for number, data in rows:
        try:
            item = as_object(orjson.loads(data))
        except orjson.JSONDecodeError:
            continue
        if item.keys() >= _FIELDS:
            yield {**item, "row": number}


def _data(item: Mapping[str, Any]) -> str:
    """The exchange as JSON; a receipt that is very long is shortened, and says so."""
    kept = {name: value for name, value in item.items() if name not in ("number", "row")}
    data = _dumped(kept)
    if len(data) <= MAX_DATA:
        return data.decode()
    left = len(item["receipt"]) - _FEW_ENTRIES
    more = {"stage": "history", "plugin": "dashboard", "what": f"{left} more entries were not kept"}
    few = [{**entry, "what": entry["what"][:500]} for entry in item["receipt"][:_FEW_ENTRIES]]
    return _dumped({**kept, "receipt": [*few, more] if left > 0 else few}).decode()


def _dumped(item: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(item, default=str)
    except TypeError:  # such as text that is not valid Unicode, which gets question marks
        return json.dumps(item, default=str, ensure_ascii=False).encode(errors="replace")
