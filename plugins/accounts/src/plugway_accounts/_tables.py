"""The tables of people, groups and keys. `migrations` creates and changes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from plugway_store import Schema

SCHEMA: Final = Schema("accounts", Path(__file__).parent / "migrations")
METADATA: Final = sa.MetaData()

PEOPLE: Final = sa.Table(
    "accounts_person",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("models", sa.Text, nullable=False),
    sa.Column("password", sa.Text),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("disabled", sa.BigInteger),
    sa.Column("removed", sa.BigInteger),
)
"""Times are in seconds since 1970. A removed person's name stays, so that nobody else gets it, and
with it what other plugins keep under it."""
GROUPS: Final = sa.Table(
    "accounts_group",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("models", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
)
MEMBERSHIPS: Final = sa.Table(
    "accounts_membership",
    METADATA,
    sa.Column("person", sa.String(64), primary_key=True),
    sa.Column("group", sa.String(64), primary_key=True),
)
KEYS: Final = sa.Table(
    "accounts_key",
    METADATA,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(16), nullable=False, unique=True),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("models", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
    sa.Column("last_used", sa.BigInteger),
)
