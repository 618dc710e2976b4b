"""Sign-ins that are in use: their access and refresh tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from plugway_sign_in._options import SignInOptions
from plugway_sign_in._tables import SESSIONS, TOKENS, hashed, new_secret
from plugway_store import Store

ACCESS: Final = "pwa_"
"""Start of access tokens, by which they are told from keys."""
REFRESH: Final = "pwr_"
_DAY: Final = 86400
_BY_ACCESS: Final = (
    select(SESSIONS.c.person)
    .join(TOKENS)
    .where(
        TOKENS.c.hash == bindparam("hash"),
        TOKENS.c.kind == "access",
        TOKENS.c.expires > bindparam("now"),
        SESSIONS.c.expires > bindparam("now"),
    )
)


@dataclass(frozen=True, slots=True)
class Issued:
    """New tokens."""

    person: str
    access: str
    expires_in: int
    refresh: str


class Sessions:
    """Issues, checks, renews and revokes tokens. All methods raise `StoreError`."""

    def __init__(
        self, store: Store, options: SignInOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._options = options
        self._clock = clock

    async def begin(
        self, connection: AsyncConnection, session: str, person: str, surface: str
    ) -> Issued:
        """Begin a sign-in, within a transaction."""
        now = self._clock()
        ends = now + self._options.session_days * _DAY
        await connection.execute(delete(SESSIONS).where(SESSIONS.c.expires < now))
        await connection.execute(
            insert(SESSIONS).values(
                id=session, person=person, surface=surface, created=now, expires=ends
            )
        )
        return await self._issue(connection, session, person, ends)

    async def person_of(self, access: str) -> str | None:
        """Whose access token it is; None if it is unknown, expired or revoked."""
        row = await self._store.first(_BY_ACCESS, {"hash": hashed(access), "now": self._clock()})
        return row.person if row else None

    async def renew(self, refresh: str) -> Issued | None:
        """New tokens for a refresh token, which then may not be used again.

        Returns None if it is unknown, expired or revoked. One that was used before ends the sign-in
        with all its tokens, unless that was within `reuse_seconds`.
        """
        now = self._clock()
        async with self._store.writing() as connection:
            row = (
                await connection.execute(
                    select(TOKENS, SESSIONS.c.person, SESSIONS.c.expires.label("ends"))
                    .join(SESSIONS)
                    .where(TOKENS.c.hash == hashed(refresh), TOKENS.c.kind == "refresh")
                    .with_for_update()
                )
            ).first()
            if row is None or row.expires <= now or row.ends <= now:
                return None
            if row.used is not None and now - row.used > self._options.reuse_seconds:
                await connection.execute(delete(SESSIONS).where(SESSIONS.c.id == row.session))
                return None
            if row.used is None:
                await connection.execute(
                    update(TOKENS).where(TOKENS.c.hash == row.hash).values(used=now)
                )
            return await self._issue(connection, row.session, row.person, row.ends)

    async def revoke(self, token: str) -> None:
        """End the sign-in of a token (RFC 7009); an unknown one is ignored."""
        async with self._store.writing() as connection:
            found = select(TOKENS.c.session).where(TOKENS.c.hash == hashed(token))
            await connection.execute(delete(SESSIONS).where(SESSIONS.c.id.in_(found)))

    async def revoke_person(self, person: str) -> None:
        """End all sign-ins of a person."""
        await self._store.write(delete(SESSIONS).where(SESSIONS.c.person == person))

    async def _issue(
        self, connection: AsyncConnection, session: str, person: str, ends: float
    ) -> Issued:
        now, options = self._clock(), self._options
        access, refresh = ACCESS + new_secret(), REFRESH + new_secret()
        until = min(now + options.access_minutes * 60, ends)
        tokens: list[tuple[str, Literal["access", "refresh"], float]] = [
            (access, "access", until),
            (refresh, "refresh", min(now + options.idle_days * _DAY, ends)),
        ]
        await connection.execute(
            delete(TOKENS).where(TOKENS.c.session == session, TOKENS.c.expires < now)
        )
        await connection.execute(
            insert(TOKENS),
            [
                {"hash": hashed(token), "session": session, "kind": kind, "expires": expires}
                for token, kind, expires in tokens
            ],
        )
        return Issued(person, access, max(1, int(until - now)), refresh)
