"""One database for the plugins that need one: SQLite by default, PostgreSQL for several gateways.

A plugin brings its own tables and migrations (`Schema`), finds the database by `HoldsStore`, and
opens it in its lifespan; a command opens the same one by `configured_store` or `run_with_store`.
"""

from plugway_store._counters import Counters, Rate
from plugway_store._errors import StoreError
from plugway_store._options import StoreOptions
from plugway_store._peers import gateway_name
from plugway_store._plugin import (
    HoldsStore,
    StorePlugin,
    configured_store,
    run_with_store,
    the_store,
)
from plugway_store._schema import Schema
from plugway_store._store import Store, insert_into, open_store

__all__ = [
    "Counters",
    "HoldsStore",
    "Rate",
    "Schema",
    "Store",
    "StoreError",
    "StoreOptions",
    "StorePlugin",
    "configured_store",
    "gateway_name",
    "insert_into",
    "open_store",
    "run_with_store",
    "the_store",
]
