"""People, groups and keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "accounts_person",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("password", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("disabled", sa.BigInteger),
        sa.Column("removed", sa.BigInteger),
    )
    op.create_table(
        "accounts_group",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "accounts_membership",
        sa.Column(
            "person",
            sa.String(64),
            sa.ForeignKey("accounts_person.name", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "group",
            sa.String(64),
            sa.ForeignKey("accounts_group.name", ondelete="CASCADE"),
            primary_key=True,
        ),
    )
    op.create_table(
        "accounts_key",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(16), nullable=False, unique=True),
        sa.Column(
            "person",
            sa.String(64),
            sa.ForeignKey("accounts_person.name", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("last_used", sa.BigInteger),
    )
    op.create_index("accounts_key_person", "accounts_key", ["person"])
