"""Where the history is: in the database of `store` if that is listed, else in a file."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from plugway import Gateway
from plugway_dashboard._file import FileHistory, history_path
from plugway_dashboard._history import History, log

if TYPE_CHECKING:
    from plugway_store import HoldsStore


@asynccontextmanager
async def open_history(
    gateway: Gateway, name: str, *, days: int, rows: int
) -> AsyncGenerator[History]:
    """The history of the plugin `name`, in its lifespan. Raises `StoreError` if there is a database
    and it cannot be opened."""
    path, holder = history_path(name), _store_of(gateway)
    if holder is None:
        yield FileHistory(path, days=days, rows=rows)
        return
    from plugway_dashboard._stored import SCHEMA, StoredHistory
    from plugway_store import gateway_name

    async with holder.opened(SCHEMA) as store:
        if path.exists():
            log.info(
                "the history is in %s. What ended before `store` was listed is still in %s, and is "
                "not searched: delete that file if you do not need it",
                store.place,
                path,
            )
        yield StoredHistory(store, name, gateway_name(gateway), days=days, rows=rows)


def _store_of(gateway: Gateway) -> HoldsStore | None:
    """The plugin `store`, if it is listed: only then its package has been imported."""
    if "plugway_store" not in sys.modules:
        return None
    from plugway_store import HoldsStore

    return next((holder for _, holder in gateway.find(HoldsStore)), None)
