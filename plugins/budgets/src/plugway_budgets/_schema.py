"""The tables: limits, accounts, reservations, the gateways that hold them, and what was spent.

Times are seconds since 1970 by the clock of the database; amounts are whole numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from plugway_store import Schema

SCHEMA: Final = Schema("budgets", Path(__file__).parent / "migrations")
_METADATA: Final = sa.MetaData()

LIMIT: Final = sa.Table(
    "budgets_limit",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("unit", sa.String(16), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("period", sa.String(8), nullable=False),
    sa.Column("zone", sa.String(64), nullable=False),
    sa.UniqueConstraint("kind", "subject", "unit", "period"),
    sqlite_autoincrement=True,
)
ACCOUNT: Final = sa.Table(
    "budgets_account",
    _METADATA,
    sa.Column("limit_id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(200), primary_key=True),
    sa.Column("start", sa.String(10), primary_key=True),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
)
RESERVATION: Final = sa.Table(
    "budgets_reservation",
    _METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("limit_id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(200), primary_key=True),
    sa.Column("start", sa.String(10), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("lease", sa.String(32), nullable=False, index=True),
)
LEASE: Final = sa.Table(
    "budgets_lease",
    _METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False),
)
CHARGE: Final = sa.Table(
    "budgets_charge",
    _METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("groups", sa.Text, nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("target", sa.String(300), nullable=False),
    sa.Column("input", sa.BigInteger, nullable=False),
    sa.Column("output", sa.BigInteger, nullable=False),
    sa.Column("cache_read", sa.BigInteger, nullable=False),
    sa.Column("cache_write", sa.BigInteger, nullable=False),
    sa.Column("nano", sa.BigInteger),
    sa.Column("measured", sa.Boolean, nullable=False),
)
