"""Notes have a colour."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("notes_note", sa.Column("colour", sa.String(16)))
