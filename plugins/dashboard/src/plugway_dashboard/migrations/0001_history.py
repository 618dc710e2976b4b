"""Ended exchanges, as the page shows them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "dashboard_exchange",
        sa.Column("plugin", sa.Text, primary_key=True),
        sa.Column("request", sa.Text, primary_key=True),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.Float(53), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("completed", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("prompt", "cached", "output")
        ),
        sa.Column("dollars", sa.Float(53)),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("dashboard_exchange_number", "dashboard_exchange", ["plugin", "number"])
    op.create_index("dashboard_exchange_ended", "dashboard_exchange", ["plugin", "ended"])
