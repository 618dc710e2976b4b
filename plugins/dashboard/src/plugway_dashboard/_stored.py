"""The history in the database of `store`, which several gateways may share.

Imported only if that plugin is listed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import sqlalchemy as sa

from plugway import Gateway
from plugway_dashboard._file import history_path
from plugway_dashboard._history import History, HistoryError, Values, log, plain
from plugway_dashboard._search import Query
from plugway_store import HoldsStore, Schema, Store, StoreError, gateway_name

SCHEMA: Final = Schema("dashboard", Path(__file__).parent / "migrations")


def stored_history(
    gateway: Gateway, name: str, *, days: int, rows: int
) -> AbstractAsyncContextManager[History] | None:
    """The history of the plugin `name` in the database; None if no database is listed. Entering it
    raises `StoreError` if the database cannot be opened."""
    for _, holder in gateway.find(HoldsStore):
        return _opened(holder, gateway, name, days, rows)
    return None


@asynccontextmanager
async def _opened(
    holder: HoldsStore, gateway: Gateway, name: str, days: int, rows: int
) -> AsyncGenerator[History]:
    async with holder.opened(SCHEMA) as store:
        if (path := history_path(name)).exists():
            log.info(
                "the history is in %s. What ended before `store` was listed is still in %s, and is "
                "not searched: delete that file if you do not need it",
                store.place,
                path,
            )
        yield StoredHistory(store, name, gateway_name(gateway), days=days, rows=rows)


class StoredHistory(History):
    """The history of the plugin `name` in all gateways with the same database."""

    _table = "dashboard_exchange"
    _more_columns = ("plugin", "request", "gateway")
    _mine = "plugin = :plugin"
    _served_here = "gateway = :gateway"

    def __init__(self, store: Store, name: str, gateway: str, *, days: int, rows: int) -> None:
        super().__init__(days=days, rows=rows)
        self.gateway = gateway
        self._store = store
        self._values = {"plugin": name, "gateway": gateway}
        self._position = "strpos" if store.kind == "postgresql" else "instr"
        self._reading = anyio.Lock()
        """Searches take turns, so that requests find a connection of the store."""
        self._failed = (0.0, "")
        """When a search failed, and why."""

    def _contains(self, name: str, query: Query) -> str:
        found = f"{self._position}(words, :{name}) > 0"
        if query.caller is not None:  # who learns nothing about the machines
            return found
        return f"({found} or {self._position}('gateway:' || lower(gateway), :{name}) > 0)"

    def _more(self, item: Mapping[str, Any]) -> Values:
        return {**self._values, "request": plain(item["request_id"])}

    async def _read(self, statement: str, values: Values) -> Sequence[Sequence[Any]]:
        began = time.monotonic()
        async with self._reading:
            failed, why = self._failed
            if failed > began:  # while this waited
                raise HistoryError(why)
            try:
                return await self._store.all(sa.text(statement), values)
            except StoreError as error:
                self._failed = time.monotonic(), str(error)
                raise HistoryError(str(error)) from error

    async def _write(self, statement: str, values: Sequence[Values]) -> int:
        try:
            return await self._store.write(_execute, statement, values)
        except StoreError as error:
            if error.kind != "encoding":
                raise HistoryError(str(error)) from error
        return sum([await self._write_one(statement, one) for one in values])

    async def _write_one(self, statement: str, values: Values) -> int:
        """Write a row, or leave it out if its text has no place in the database's encoding."""
        try:
            return await self._store.write(_execute, statement, [values])
        except StoreError as error:
            if error.kind != "encoding":
                raise HistoryError(str(error)) from error
            log.warning("request %s is not in the history: %s", values.get("request"), error)
            return 0


def _execute(connection: sa.Connection, statement: str, values: Sequence[Values]) -> int:
    return connection.execute(sa.text(statement), list(values)).rowcount
