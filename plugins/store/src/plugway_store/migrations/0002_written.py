"""When each value was put, so that an older one never replaces a newer one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "store_value", sa.Column("written", sa.Float(53), nullable=False, server_default="0")
    )
