"""sign-ins, their tokens, and people of providers"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    time = sa.Double[float]()
    op.create_table(
        "sign_in_requests",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("user_code", sa.String(8), nullable=False, unique=True),
        sa.Column("surface", sa.String(40), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("created", time, nullable=False),
        sa.Column("expires", time, nullable=False),
        sa.Column("polled", time, nullable=False),
        sa.Column("interval", sa.Integer, nullable=False),
        sa.Column("browser", sa.String(64), unique=True),
        sa.Column("person", sa.String(64)),
        sa.Column("oidc_state", sa.String(64)),
        sa.Column("oidc_nonce", sa.String(64)),
        sa.Column("oidc_verifier", sa.String(128)),
        sa.Column("session", sa.String(64)),
    )
    op.create_index("sign_in_requests_expires", "sign_in_requests", ["expires"])
    op.create_table(
        "sign_in_sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("person", sa.String(64), nullable=False, index=True),
        sa.Column("surface", sa.String(40), nullable=False),
        sa.Column("created", time, nullable=False),
        sa.Column("expires", time, nullable=False, index=True),
    )
    op.create_table(
        "sign_in_tokens",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column(
            "session",
            sa.String(64),
            sa.ForeignKey("sign_in_sessions.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("expires", time, nullable=False, index=True),
        sa.Column("used", time),
    )
    op.create_table(
        "sign_in_identities",
        sa.Column("issuer", sa.String(500), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("person", sa.String(64), nullable=False, unique=True),
        sa.Column("email", sa.String(320), nullable=False),
    )
