"""Where the conversation of a session goes, so that what its client asks beside it goes no farther.

A client asks for titles, checks and summaries under ids of its own choice, whatever model the
conversation has: a pattern such as `*` would take parts of a local conversation to a vendor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plugway import Attempt, Bounded

MAX_SESSIONS: Final = 1_024
WAIT_SECONDS: Final = 1.0
"""How long a request waits for the conversation that it belongs to: both are often sent at once."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a conversation goes."""

    target: tuple[str, str]
    """(instance, model) that is tried first."""
    zones: frozenset[str]
    """Zones that it may go to: those of all its targets, and this machine."""

    @property
    def is_local(self) -> bool:
        """It never leaves this machine."""
        return self.zones == frozenset(("local",))


class Sessions:
    """The homes of the sessions that were seen last."""

    def __init__(self) -> None:
        self._homes: Bounded[str, Home | None] = Bounded(MAX_SESSIONS)
        """None for a session whose conversation never came."""
        self._arrivals: dict[str, asyncio.Event] = {}

    def saw(self, session: str, attempts: Sequence[Attempt]) -> None:
        """A turn of the conversation is about to be sent."""
        zones = frozenset(["local", *(attempt.backend.zone for attempt in attempts)])
        first = attempts[0]
        self._homes[session] = Home((first.backend.name, first.model), zones)
        arrival = self._arrivals.pop(session, None)
        if arrival is not None:
            arrival.set()

    async def home(self, session: str) -> Home | None:
        """Where the conversation goes; None where none came, also after a moment."""
        if session not in self._homes and len(self._arrivals) < MAX_SESSIONS:
            arrival = self._arrivals.setdefault(session, asyncio.Event())
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await arrival.wait()
            except TimeoutError:
                self._arrivals.pop(session, None)
                self._homes[session] = self._homes.get(session)
        return self._homes.get(session)
