"""A plugin's tables, as an example: notes with a count."""

from pathlib import Path

import sqlalchemy as sa

from plugway_store import Schema

SCHEMA = Schema("notes", Path(__file__).parent / "example")
METADATA = sa.MetaData()
NOTES = sa.Table(
    "notes_note",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False, unique=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("colour", sa.String(16)),
)
