"""Values that gateways share by topic, and the number of the last change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "store_value",
        sa.Column("topic", sa.String(256), primary_key=True),
        sa.Column("key", sa.String(1024), primary_key=True),
        sa.Column("value", sa.Text),
        sa.Column("gateway", sa.String(32), nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("store_value_changed", "store_value", ["changed"])
    op.create_index("store_value_topic", "store_value", ["topic", "changed"])
    table = op.create_table(
        "store_change",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(table, [{"id": 1, "number": 0}])
