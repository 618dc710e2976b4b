"""Requests to sign in: what the client polls for, and what the browser answers (RFC 8628).

Everything is in the database, so that a request may begin at one gateway and end at another.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from plugway_sign_in._options import SignInOptions
from plugway_sign_in._sessions import Issued, Sessions
from plugway_sign_in._tables import REQUESTS, SESSIONS, hashed, new_secret
from plugway_store import Store

INTERVAL: Final = 5
"""Seconds between polls that a client is asked for, and what each `slow_down` adds (RFC 8628)."""
_EARLY: Final = 1.0
"""How much too early a poll may come: networks and clocks are not exact."""
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that codes spell no words (RFC 8628, 6.1): 20^8 codes."""
_SKEW: Final = 300.0
"""How far the clocks of two gateways may differ; a larger step back ends a request."""

Refusal = Literal["authorization_pending", "slow_down", "access_denied", "expired_token"]


@dataclass(frozen=True, slots=True)
class Begun:
    """A new request."""

    device_code: str
    user_code: str
    expires_in: int


class Requests:
    """Begins and answers requests. All methods raise `StoreError`."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        options: SignInOptions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._seconds = options.code_minutes * 60
        self._clock = clock

    # ── the client ───────────────────────────────────────────────────────────────────────────

    async def begin(self, surface: str) -> Begun:
        """Begin a request, and forget those that ended an hour ago."""
        now, device = self._clock(), new_secret()
        await self._store.write(delete(REQUESTS).where(REQUESTS.c.expires < now - 3600))
        while True:
            code = "".join(secrets.choice(_LETTERS) for _ in range(8))
            values = {
                "device": hashed(device),
                "user_code": code,
                "surface": surface[:40],
                "state": "pending",
                "created": now,
                "expires": now + self._seconds,
                "polled": 0.0,
                "interval": INTERVAL,
            }
            try:
                await self._store.write(insert(REQUESTS).values(**values))
            except IntegrityError:
                continue  # the code is in use
            return Begun(device, f"{code[:4]}-{code[4:]}", self._seconds)

    async def poll(self, device_code: str) -> Issued | Refusal:
        """The tokens, once; or why there are none (yet)."""
        now = self._clock()
        async with self._store.writing() as connection:
            query = select(REQUESTS).where(REQUESTS.c.device == hashed(device_code))
            row = (await connection.execute(query.with_for_update())).first()
            if row is None:
                return "expired_token"
            own = update(REQUESTS).where(REQUESTS.c.device == row.device)
            if row.state == "used":
                # Either somebody else has the code, or the client never got its tokens.
                await connection.execute(delete(SESSIONS).where(SESSIONS.c.id == row.session))
                return "expired_token"
            if row.state == "denied":
                return "access_denied"
            if not self._lasts(row):
                return "expired_token"
            if row.state == "approved":
                session = secrets.token_hex(16)
                await connection.execute(own.values(state="used", session=session, browser=None))
                return await self._sessions.begin(connection, session, row.person, row.surface)
            hasty = 0 <= now - row.polled < row.interval - _EARLY
            interval = row.interval + INTERVAL if hasty else row.interval
            await connection.execute(own.values(polled=now, interval=interval))
            return "slow_down" if hasty else "authorization_pending"

    # ── the browser ──────────────────────────────────────────────────────────────────────────

    async def claim(self, typed: str) -> str | None:
        """Let a browser that knows the user code answer its request, instead of any before it.

        Returns the secret for the browser's cookie, or None if the code is unknown or has expired.
        """
        code = "".join(c for c in typed.upper() if c.isalpha())
        browser = new_secret()
        now = self._clock()
        changed = await self._store.write(
            update(REQUESTS)
            .where(
                REQUESTS.c.user_code == code,
                REQUESTS.c.state == "pending",
                REQUESTS.c.created <= now + _SKEW,
                REQUESTS.c.expires > now,
            )
            .values(
                browser=hashed(browser),
                person=None,
                oidc_state=None,
                oidc_nonce=None,
                oidc_verifier=None,
            )
        )
        return browser if changed else None

    async def of_browser(self, browser: str) -> Row[Any] | None:
        """The request that a browser answers, while it can."""
        row = await self._store.first(
            select(REQUESTS).where(
                REQUESTS.c.browser == hashed(browser), REQUESTS.c.state == "pending"
            )
        )
        return row if row is not None and self._lasts(row) else None

    async def set_oidc(self, browser: str, state: str, nonce: str, verifier: str) -> bool:
        """Remember what a provider has to send back; at most one sign-in there counts."""
        return await self._change(
            browser, oidc_state=state, oidc_nonce=nonce, oidc_verifier=verifier
        )

    async def take_oidc(self, browser: str, state: str) -> tuple[str, str] | None:
        """The nonce and the verifier for a `state` of the provider, once."""
        row = await self.of_browser(browser)
        if row is None or row.oidc_state is None or row.oidc_state != state:
            return None
        taken = await self._store.write(
            update(REQUESTS)
            .where(REQUESTS.c.device == row.device, REQUESTS.c.oidc_state == state)
            .values(oidc_state=None)
        )
        return (row.oidc_nonce, row.oidc_verifier) if taken else None

    async def sign_in(self, browser: str, person: str) -> bool:
        """Record who uses the browser; nothing is approved by it."""
        return await self._change(browser, person=person)

    async def decide(self, browser: str, person: str, allow: bool) -> bool:
        """Let the client sign in as `person`, or deny it; False if it is too late."""
        state = "approved" if allow else "denied"
        return await self._change(browser, REQUESTS.c.person == person, state=state)

    async def _change(self, browser: str, *conditions: Any, **values: Any) -> bool:
        row = await self.of_browser(browser)
        if row is None:
            return False
        statement = update(REQUESTS).where(
            REQUESTS.c.device == row.device,
            REQUESTS.c.browser == hashed(browser),
            REQUESTS.c.state == "pending",
            *conditions,
        )
        return bool(await self._store.write(statement.values(**values)))

    def _lasts(self, row: Row[Any]) -> bool:
        return row.created - _SKEW <= self._clock() < row.expires
