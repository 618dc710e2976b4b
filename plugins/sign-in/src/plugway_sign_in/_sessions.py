"""Sign-ins that are in use: their access and refresh tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from plugway_sign_in._options import SignInOptions
from plugway_sign_in._tables import SESSIONS, TOKENS, hashed, new_secret
from plugway_store import Store

ACCESS: Final = "pwa_"
"""Start of access tokens, which distinguishes them from keys."""
REFRESH: Final = "pwr_"
_DAY: Final = 86400

_PERSON: Final = (
    select(SESSIONS.c.person)
    .join(TOKENS)
    .where(
        TOKENS.c.hash == bindparam("token"),
        TOKENS.c.kind == "access",
        TOKENS.c.expires > bindparam("now"),
        SESSIONS.c.expires > bindparam("now"),
    )
)
_REFRESH: Final = (
    select(TOKENS, SESSIONS.c.person, SESSIONS.c.expires.label("ends"))
    .join(SESSIONS)
    .where(TOKENS.c.hash == bindparam("token"), TOKENS.c.kind == "refresh")
    .with_for_update()
)
_USE: Final = update(TOKENS).where(TOKENS.c.hash == bindparam("token"))
_OLD_TOKENS: Final = delete(TOKENS).where(
    TOKENS.c.session == bindparam("of"), TOKENS.c.expires < bindparam("now")
)
_OLD_SESSIONS: Final = delete(SESSIONS).where(SESSIONS.c.expires < bindparam("now"))
_END: Final = delete(SESSIONS).where(SESSIONS.c.id == bindparam("session"))
_END_OF_TOKEN: Final = delete(SESSIONS).where(
    SESSIONS.c.id.in_(select(TOKENS.c.session).where(TOKENS.c.hash == bindparam("token")))
)
_END_OF_PERSON: Final = delete(SESSIONS).where(SESSIONS.c.person == bindparam("person"))


@dataclass(frozen=True, slots=True)
class Issued:
    """New tokens."""

    person: str
    access: str
    expires_in: int
    refresh: str


class Sessions:
    """Issues, checks, renews and revokes tokens.

    Asynchronous methods raise `StoreError`; the others are parts of a transaction.
    """

    def __init__(
        self, store: Store, options: SignInOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._options = options
        self._clock = clock

    async def person_of(self, access: str) -> str | None:
        """Whose access token it is; None if it is unknown, expired or revoked."""
        row = await self._store.first(_PERSON, {"token": hashed(access), "now": self._clock()})
        return row.person if row else None

    async def renew(self, refresh: str) -> Issued | None:
        """New tokens for a refresh token.

        Returns None if it is unknown, expired or revoked. One that was first used `reuse_hours` ago
        ends the sign-in with all its tokens.
        """
        return await self._store.write(self._renew, hashed(refresh))

    async def revoke(self, token: str) -> None:
        """End the sign-in of a token (RFC 7009); an unknown one is ignored."""
        await self._store.execute(_END_OF_TOKEN, {"token": hashed(token)})

    async def revoke_person(self, person: str) -> None:
        """End all sign-ins of a person."""
        await self._store.execute(_END_OF_PERSON, {"person": person})

    def begin(self, connection: Connection, session: str, person: str, surface: str) -> Issued:
        """Begin a sign-in with the id `session`."""
        now = self._clock()
        ends = now + self._options.session_days * _DAY
        connection.execute(_OLD_SESSIONS, {"now": now})
        values = {"id": session, "person": person, "surface": surface}
        connection.execute(insert(SESSIONS), {**values, "created": now, "expires": ends})
        return self._issue(connection, session, person, ends)

    def end(self, connection: Connection, session: str) -> None:
        """End a sign-in with all its tokens."""
        connection.execute(_END, {"session": session})

    def _renew(self, connection: Connection, token: str) -> Issued | None:
        now = self._clock()
        row = connection.execute(_REFRESH, {"token": token}).first()
        if row is None or row.expires <= now or row.ends <= now:
            return None
        if row.used is None:
            connection.execute(_USE, {"token": token, "used": now})
        elif now - row.used > self._options.reuse_hours * 3600:
            self.end(connection, row.session)
            return None
        return self._issue(connection, row.session, row.person, row.ends)

    def _issue(self, connection: Connection, session: str, person: str, ends: float) -> Issued:
        now, options = self._clock(), self._options
        access, refresh = ACCESS + new_secret(), REFRESH + new_secret()
        until = min(now + options.access_minutes * 60, ends)
        idle = min(now + options.idle_days * _DAY, ends)
        connection.execute(_OLD_TOKENS, {"of": session, "now": now})
        kinds = ((access, "access", until), (refresh, "refresh", idle))
        connection.execute(
            insert(TOKENS),
            [
                {"hash": hashed(token), "session": session, "kind": kind, "expires": expires}
                for token, kind, expires in kinds
            ],
        )
        return Issued(person, access, max(1, int(until - now)), refresh)
