"""What conversations have spent, and the limits that their users have set."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "budget_tree_spent",
        sa.Column("conversation", sa.String(256), primary_key=True),
        sa.Column("gateway", sa.String(32), primary_key=True),
        sa.Column("nano", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("unpriced", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
    op.create_index("budget_tree_spent_used", "budget_tree_spent", ["used"])
    op.create_table(
        "budget_tree_asked",
        sa.Column("conversation", sa.String(256), primary_key=True),
        sa.Column("nano", sa.BigInteger),
        sa.Column("tokens", sa.BigInteger),
        sa.Column("calls", sa.BigInteger),
        sa.Column("agents", sa.BigInteger),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
