"""Requests to sign in: what the client polls for, and what the browser answers (RFC 8628).

Everything is in the database, so that a request may begin at one gateway and end at another.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, Update, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from plugway_sign_in._options import SignInOptions
from plugway_sign_in._sessions import Issued, Sessions
from plugway_sign_in._tables import REQUESTS, hashed, new_secret
from plugway_store import Store

INTERVAL: Final = 5
"""Seconds between polls that a client is asked for, and what each `slow_down` adds (RFC 8628)."""
_EARLY: Final = 1.0
"""How much too early a poll may come: networks and clocks are not exact."""
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that codes spell no words (RFC 8628, 6.1): 20^8 codes."""
_SKEW: Final = 300.0
"""How far the clocks of two gateways may differ; a larger step back ends a request."""

_FORGET: Final = delete(REQUESTS).where(REQUESTS.c.expires < bindparam("before"))
_POLLED: Final = select(REQUESTS).where(REQUESTS.c.device == bindparam("of")).with_for_update()
_UPDATE: Final = update(REQUESTS).where(REQUESTS.c.device == bindparam("of"))
_CLAIM: Final = update(REQUESTS).where(
    REQUESTS.c.user_code == bindparam("code"),
    REQUESTS.c.state == "pending",
    REQUESTS.c.created <= bindparam("latest"),
    REQUESTS.c.expires > bindparam("now"),
)
_WAITING: Final = (REQUESTS.c.browser == bindparam("by"), REQUESTS.c.state == "pending")
_OF_BROWSER: Final = select(REQUESTS).where(*_WAITING)
_ANSWER: Final = update(REQUESTS).where(*_WAITING)
_TAKE: Final = _ANSWER.where(REQUESTS.c.oidc_state == bindparam("was"))
_DECIDE: Final = _ANSWER.where(REQUESTS.c.person == bindparam("seen"))

Refusal = Literal["authorization_pending", "slow_down", "access_denied", "expired_token"]


@dataclass(frozen=True, slots=True)
class Begun:
    """A new request."""

    device_code: str
    user_code: str
    expires_in: int


class Requests:
    """Begins and answers requests. Its methods raise `StoreError`."""

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
        await self._store.execute(_FORGET, {"before": now - 3600})
        while True:
            code = "".join(secrets.choice(_LETTERS) for _ in range(8))
            values = {
                "device": hashed(device),
                "user_code": code,
                "surface": _shown(surface),
                "state": "pending",
                "created": now,
                "expires": now + self._seconds,
                "polled": 0.0,
                "interval": INTERVAL,
            }
            try:
                await self._store.execute(insert(REQUESTS), values)
            except IntegrityError:
                continue  # the code is in use
            return Begun(device, f"{code[:4]}-{code[4:]}", self._seconds)

    async def poll(self, device_code: str) -> Issued | Refusal:
        """The tokens, once; or why there are none (yet)."""
        return await self._store.write(self._poll, hashed(device_code))

    def _poll(self, connection: Connection, device: str) -> Issued | Refusal:
        now = self._clock()
        row = connection.execute(_POLLED, {"of": device}).first()
        if row is None:
            return "expired_token"
        if row.state == "used":
            # Either somebody else has the code, or the client never got its tokens.
            self._sessions.end(connection, row.session)
            return "expired_token"
        if row.state == "denied":
            return "access_denied"
        if not self._lasts(row):
            return "expired_token"
        if row.state == "approved":
            session = secrets.token_hex(16)
            values = {"of": device, "state": "used", "session": session, "browser": None}
            connection.execute(_UPDATE, values)
            return self._sessions.begin(connection, session, row.person, row.surface)
        hasty = 0 <= now - row.polled < row.interval - _EARLY
        interval = row.interval + INTERVAL if hasty else row.interval
        connection.execute(_UPDATE, {"of": device, "polled": now, "interval": interval})
        return "slow_down" if hasty else "authorization_pending"

    # ── the browser ──────────────────────────────────────────────────────────────────────────

    async def claim(self, typed: str) -> str | None:
        """Let a browser that knows the user code answer its request, instead of any before it.

        Returns the secret for the browser's cookie, or None if the code is unknown or has expired.
        """
        code = "".join(c for c in typed.upper() if c.isalpha())
        browser, now = new_secret(), self._clock()
        found = {"code": code, "now": now, "latest": now + _SKEW}
        forgotten = dict.fromkeys(("person", "oidc_state", "oidc_nonce", "oidc_verifier"))
        values = {**found, **forgotten, "browser": hashed(browser)}
        return browser if await self._store.execute(_CLAIM, values) else None

    async def of_browser(self, browser: str) -> Row[Any] | None:
        """The request that a browser answers, while it can."""
        row = await self._store.first(_OF_BROWSER, {"by": hashed(browser)})
        return row if row is not None and self._lasts(row) else None

    async def set_oidc(self, browser: str, state: str, nonce: str, verifier: str) -> bool:
        """Remember what a provider has to send back; of several sign-ins there, the last counts."""
        values = {"oidc_state": hashed(state), "oidc_nonce": nonce, "oidc_verifier": verifier}
        return await self._change(_ANSWER, browser, values)

    async def take_oidc(self, browser: str, state: str) -> tuple[str, str] | None:
        """The nonce and the verifier for a `state` of the provider, once."""
        row = await self.of_browser(browser)
        values = {"was": hashed(state), "oidc_state": None}
        if row is None or not await self._change(_TAKE, browser, values):
            return None
        return row.oidc_nonce, row.oidc_verifier

    async def sign_in(self, browser: str, person: str) -> bool:
        """Record who uses the browser; nothing is approved by it."""
        return await self._change(_ANSWER, browser, {"person": person})

    async def decide(self, browser: str, person: str, allow: bool) -> bool:
        """Let the client sign in as `person`, or deny it; False if it is too late."""
        values = {"seen": person, "state": "approved" if allow else "denied"}
        return await self._change(_DECIDE, browser, values)

    async def _change(
        self, statement: Update, browser: str, values: Mapping[str, str | None]
    ) -> bool:
        if await self.of_browser(browser) is None:
            return False
        return bool(await self._store.execute(statement, {**values, "by": hashed(browser)}))

    def _lasts(self, row: Row[Any]) -> bool:
        return row.created - _SKEW <= self._clock() < row.expires


def _shown(surface: str) -> str:
    """What a client calls itself, short and printable: a database takes no NUL."""
    return "".join(c for c in surface if c.isprintable())[:40]
