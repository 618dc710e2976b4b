"""The tables of shared values, and the statements that write and read them.

Times are relative to the database's clock, because those of gateways may differ.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import sqlalchemy as sa

from plugway_store._schema import Schema
from plugway_store._store import insert_into

SCHEMA: Final = Schema("store", Path(__file__).parent / "migrations")
MAX_VALUES: Final = 10_000
"""Values of a topic; the oldest are removed first."""
MAX_TOPIC: Final = 256
MAX_KEY: Final = 1024
"""Characters of a key."""

_METADATA: Final = sa.MetaData()
_VALUE: Final = sa.Table(
    "store_value",
    _METADATA,
    sa.Column("topic", sa.String(MAX_TOPIC), primary_key=True),
    sa.Column("key", sa.String(MAX_KEY), primary_key=True),
    sa.Column("value", sa.Text),
    sa.Column("gateway", sa.String(32), nullable=False),
    sa.Column("expires", sa.Float(53), nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("written", sa.Float(53), nullable=False),
)
_CHANGE: Final = sa.Table(
    "store_change",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)
_NUMBER: Final = sa.select(_CHANGE.c.number)
_NEW: Final = ("value", "gateway", "expires", "written")


class Row(NamedTuple):
    """A value that a run of a gateway has put."""

    topic: str
    key: str
    value: str | None
    gateway: str
    seconds: float
    """Until it expires."""
    at: float
    """`time.monotonic()` of this process when it was put."""


def write(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Insert, or replace values that were put earlier. One that stays is news again, so that the
    gateway that wanted to replace it gets it. Changes are numbered in the order of their commits,
    because each transaction holds the lock on the number until it ends."""
    count = insert_into(connection, _CHANGE).values(id=1, number=1)  # if somebody emptied the table
    more = {"number": _CHANGE.c.number + 1}
    connection.execute(count.on_conflict_do_update(index_elements=[_CHANGE.c.id], set_=more))
    number = connection.execute(_NUMBER).scalar_one()
    here = time.monotonic()  # before the clock: no value is older than one that its gateway knew
    now = float(connection.execute(sa.select(_clock(connection))).scalar_one())
    statement = insert_into(connection, _VALUE)
    key = [_VALUE.c.topic, _VALUE.c.key]
    older = sa.or_(
        _VALUE.c.written <= statement.excluded.written,
        _VALUE.c.gateway == statement.excluded.gateway,
        _VALUE.c.written > now,  # before the database's clock was put back
    )
    new = {name: sa.case((older, statement.excluded[name]), else_=_VALUE.c[name]) for name in _NEW}
    new["changed"] = statement.excluded.changed
    values = [
        {
            "topic": row.topic,
            "key": row.key,
            "value": row.value,
            "gateway": row.gateway,
            "expires": now + row.seconds,
            "changed": number,
            "written": now - (here - row.at),
        }
        for row in rows
    ]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=new), values)


def values_of(connection: sa.Connection, topic: str) -> list[Row]:
    """All values of a topic, the oldest first."""
    return _select(connection, _VALUE.c.topic == topic)


def news(connection: sa.Connection, seen: int) -> tuple[int, list[Row]]:
    """The number of the last change, and what changed after `seen`. A lower number is that of a
    copy that was restored: all its values are news."""
    number = int(connection.execute(_NUMBER).scalar() or 0)
    if number == seen:
        return number, []
    return number, _select(connection, _VALUE.c.changed > (seen if seen < number else 0))


def prune(connection: sa.Connection, topics: Sequence[str]) -> None:
    """Remove what has expired, and the oldest of a topic with too many values."""
    connection.execute(sa.delete(_VALUE).where(_VALUE.c.expires < _clock(connection)))
    for topic in topics:
        newest = sa.select(_VALUE.c.changed).where(_VALUE.c.topic == topic)
        oldest = newest.order_by(_VALUE.c.changed.desc()).offset(MAX_VALUES).limit(1)
        beyond = connection.execute(oldest).scalar()
        if beyond is not None:
            old = sa.delete(_VALUE).where(_VALUE.c.topic == topic, _VALUE.c.changed <= beyond)
            connection.execute(old)


def _select(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Row]:
    now = _clock(connection)
    columns = (_VALUE.c.topic, _VALUE.c.key, _VALUE.c.value, _VALUE.c.gateway)
    times = (_VALUE.c.expires - now, now - _VALUE.c.written)
    statement = sa.select(*columns, *times).where(_VALUE.c.expires > now, condition)
    found = connection.execute(statement.order_by(_VALUE.c.changed)).all()
    here = time.monotonic()
    return [Row(*row[:-1], here - row[-1]) for row in found]


def _clock(connection: sa.Connection) -> sa.ColumnElement[float]:
    """The database's time in seconds."""
    if connection.dialect.name == "postgresql":
        return sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Double)
    return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Double)
