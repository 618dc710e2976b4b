"""Where the history is: in the database of `store` if that is listed, else in a file."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager, nullcontext

from plugway import Gateway
from plugway_dashboard._file import FileHistory, history_path
from plugway_dashboard._history import History


def open_history(
    gateway: Gateway, name: str, *, days: int, rows: int
) -> AbstractAsyncContextManager[History]:
    """The history of the plugin `name`, to enter in its lifespan."""
    if "plugway_store" in sys.modules:  # only then can `store` be listed
        from plugway_dashboard._stored import stored_history

        found = stored_history(gateway, name, days=days, rows=rows)
        if found is not None:
            return found
    return nullcontext(FileHistory(history_path(name), days=days, rows=rows))
