"""Limits, accounts, reservations and charges."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "budgets_limit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("period", sa.String(8), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.UniqueConstraint("kind", "subject", "unit", "period"),
        # An id is never used again: a request that still runs belongs to the limit it knew.
        sqlite_autoincrement=True,
    )
    op.create_table(
        "budgets_account",
        sa.Column("limit_id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(200), primary_key=True),
        sa.Column("start", sa.String(10), primary_key=True),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "budgets_reservation",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("limit_id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(200), primary_key=True),
        sa.Column("start", sa.String(10), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.String(32), nullable=False, index=True),
    )
    op.create_table(
        "budgets_lease",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "budgets_charge",
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
