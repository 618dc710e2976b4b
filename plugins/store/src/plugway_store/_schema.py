"""The tables of one plugin, and the migrations that bring a database to their newest form."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from plugway_store._engines import run_once
from plugway_store._errors import StoreError, translated
from plugway_store._options import StoreOptions

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LOCK: Final = 0x706C7567776179
"""Key of PostgreSQL's advisory lock that gateways migrate under: `plugway` in ASCII."""
_migrating = threading.Lock()
"""Alembic's `op` is one object per process."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one plugin, with a version of their own: a plugin is added, updated and removed
    without the others."""

    name: str
    """The plugin's name in lower case with `_`; tables start with it, to share no name."""
    migrations: Path
    """Folder of the alembic revisions, such as `Path(__file__).parent / "migrations"`."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a valid schema name: use a-z, 0-9 and `_`")

    @property
    def version_table(self) -> str:
        """The table with the revision of this schema in the database."""
        return f"{self.name}_version"


def migrate(options: StoreOptions, schema: Schema, seconds: float) -> str:
    """Bring the tables of `schema` to their newest revision, in one transaction; for threads.
    Returns what was done, or an empty text.

    Gateways that start together take turns, by PostgreSQL's lock or SQLite's write transaction, and
    all but the first find nothing to do. A failed migration changes nothing.

    Raises `StoreError` if the database has a newer revision than this program.
    """
    folder = str(schema.migrations)
    script = ScriptDirectory(folder, version_locations=[folder])
    with translated(options.place), _migrating:
        script.get_current_head()  # reads the files
        return run_once(options, partial(_migrate, script, schema, options.place), seconds)


def _migrate(script: ScriptDirectory, schema: Schema, place: str, connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    context = MigrationContext.configure(
        connection, opts={"version_table": schema.version_table, "transactional_ddl": True}
    )
    current, newest = context.get_current_revision(), script.get_current_head()
    if newest is None:
        raise ValueError(f"`{schema.name}`: {schema.migrations} contains no migration")
    if current == newest:
        return ""
    known = {one.revision for one in script.walk_revisions()}
    if current is not None and current not in known:
        reason = (
            f"the tables of `{schema.name}` are at revision {current}, newer than this version of "
            f"Plugway knows (up to {newest}); nothing was changed"
        )
        fix = "start the version that wrote them, or restore a copy of the database"
        raise StoreError(place, reason, fix, "schema")
    steps = list(script.iterate_revisions(newest, current or "base"))[::-1]
    with Operations.context(context):
        for step in steps:
            step.module.upgrade()
    context.stamp(script, newest)
    what = "tables created" if current is None else f"updated from revision {current}"
    return f"`{schema.name}`: {what}, now at {newest} ({'; '.join(step.doc for step in steps)})"
