"""The tables, as `migrations` creates them. All times are seconds since 1970 in UTC."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Double, ForeignKey, Integer, MetaData, String, Table

from plugway_store import Schema

SCHEMA: Final = Schema("sign_in", Path(__file__).parent / "migrations")

_metadata = MetaData()

REQUESTS: Final = Table(
    "sign_in_requests",
    _metadata,
    Column("device", String(64), primary_key=True),
    Column("user_code", String(8)),
    Column("surface", String(40)),
    Column("state", String(8)),
    Column("created", Double),
    Column("expires", Double),
    Column("polled", Double),
    Column("interval", Integer),
    Column("browser", String(64)),
    Column("person", String(64)),
    Column("oidc_state", String(64)),
    Column("oidc_nonce", String(64)),
    Column("oidc_verifier", String(128)),
    Column("session", String(64)),
)
"""What clients requested and browsers answer. `device` and `browser` are hashes."""

SESSIONS: Final = Table(
    "sign_in_sessions",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("person", String(64)),
    Column("surface", String(40)),
    Column("created", Double),
    Column("expires", Double),
)
"""Sign-ins that are in use; deleting one revokes its tokens."""

TOKENS: Final = Table(
    "sign_in_tokens",
    _metadata,
    Column("hash", String(64), primary_key=True),
    Column("session", String(64), ForeignKey("sign_in_sessions.id", ondelete="CASCADE")),
    Column("kind", String(8)),
    Column("expires", Double),
    Column("used", Double),
)
"""Access and refresh tokens, as hashes. `used` is when a refresh token was exchanged."""

IDENTITIES: Final = Table(
    "sign_in_identities",
    _metadata,
    Column("issuer", String(500), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("person", String(64)),
    Column("email", String(320)),
)
"""Who is who at a provider."""


def new_secret() -> str:
    """A random text of 256 bits."""
    return secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    """What is stored of a secret. It is random, so that a fast hash is as good as a slow one."""
    return hashlib.sha256(secret.encode()).hexdigest()
