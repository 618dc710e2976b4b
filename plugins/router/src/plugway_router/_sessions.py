"""Where each session's conversation goes, so that its client's side requests stay in its zones.

A client requests titles, checks and summaries with model ids of its own choice, regardless of the
conversation's model: a pattern such as `*` would send parts of a local conversation to a vendor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plugway import Attempt, Bounded

MAX_SESSIONS: Final = 1_024
WAIT_SECONDS: Final = 1.0
"""Seconds that a side request waits for its conversation: both are often sent at once."""


@dataclass(frozen=True, slots=True)
class Home:
    """The targets and zones of a conversation."""

    target: tuple[str, str]
    """(instance, model) that is tried first."""
    zones: frozenset[str]
    """Zones that it may go to: those of all its targets, and this machine."""

    @property
    def is_local(self) -> bool:
        """Whether it never leaves this machine."""
        return self.zones == frozenset(("local",))


class Sessions:
    """The homes of the sessions that were used last."""

    def __init__(self) -> None:
        self._homes: Bounded[str, Home | None] = Bounded(MAX_SESSIONS)
        """None for a session whose conversation was never seen."""
        self._arrivals: dict[str, asyncio.Event] = {}

    def record(self, session: str, attempts: Sequence[Attempt]) -> Home | None:
        """Remember where a turn of the conversation is about to be sent; returns its home if that
        is new."""
        zones = frozenset(["local", *(attempt.backend.zone for attempt in attempts)])
        first = attempts[0]
        home = Home((first.backend.name, first.model), zones)
        before = self._homes.get(session)
        self.remember(session, home)
        return home if home != before else None

    def remember(self, session: str, home: Home) -> None:
        """Remember the home of a conversation, and serve requests that wait for it."""
        self._homes[session] = home
        arrival = self._arrivals.pop(session, None)
        if arrival is not None:
            arrival.set()

    async def home(self, session: str) -> Home | None:
        """The home of the conversation; None if it is not known within the waiting time."""
        if session not in self._homes and len(self._arrivals) < MAX_SESSIONS:
            arrival = self._arrivals.setdefault(session, asyncio.Event())
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await arrival.wait()
            except TimeoutError:
                self._arrivals.pop(session, None)
                self._homes[session] = self._homes.get(session)
        return self._homes.get(session)
