"""Books in the background what requests used, again and again until the database has it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio

from plugway_budgets import _ledger as ledger
from plugway_budgets._ledger import Settlement
from plugway_store import Store, StoreError

_TOGETHER: Final = 100
"""Settlements in one transaction."""
_MOST_WAITING: Final = 100_000
_LINGER: Final = 0.01
"""Seconds in which settlements are collected, so that one transaction books several."""
_PAUSES: Final = (0.1, 0.3, 1.0, 2.0)


class Settler:
    """A queue of settlements, in the order in which requests ended."""

    def __init__(self, store: Store, log: logging.Logger) -> None:
        self._store = store
        self._log = log
        self._waiting: deque[Settlement] = deque()
        self._arrived = anyio.Event()
        self._hurry = anyio.Event()
        self._done = anyio.Event()
        self._put = self._booked = 0
        self._later: deque[Callable[[], Awaitable[None]]] = deque(maxlen=_MOST_WAITING)

    @property
    def waiting(self) -> int:
        """Settlements that are not in the database yet."""
        return self._put - self._booked

    def put(self, settlement: Settlement) -> None:
        """Book a settlement soon."""
        if len(self._waiting) >= _MOST_WAITING:
            self._log.error("the database is away for too long: a charge is lost")
            return
        self._waiting.append(settlement)
        self._put += 1
        self._arrived.set()

    def later(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something after what was put so far; a failure of the database is ignored."""
        self._later.append(work)
        self._arrived.set()

    async def flush(self, seconds: float) -> bool:
        """Wait until what was put so far is booked; whether it is."""
        wanted = self._put
        self._hurry.set()
        with anyio.move_on_after(seconds):
            while self._booked < wanted:
                await self._done.wait()
        return self._booked >= wanted

    async def run(self) -> None:
        """Book what arrives."""
        while True:
            await self._arrived.wait()
            with anyio.move_on_after(_LINGER):
                await self._hurry.wait()
            self._arrived, self._hurry = anyio.Event(), anyio.Event()
            while self._waiting:
                batch = [self._waiting[i] for i in range(min(_TOGETHER, len(self._waiting)))]
                await self._book(batch)
                for _ in batch:
                    self._waiting.popleft()
                self._booked += len(batch)
                done, self._done = self._done, anyio.Event()
                done.set()
            while self._later:
                with suppress(StoreError):
                    await self._later.popleft()()

    async def _book(self, batch: Sequence[Settlement]) -> None:
        """Book a batch, however long the database is away."""
        for attempt in range(2**31):
            try:
                return await self._store.write(ledger.settle, batch)
            except StoreError as error:
                if error.kind == "other":
                    return await self._one_by_one(batch, error)
                if attempt == 0:
                    self._log.warning("%d charges wait to be booked: %s", len(batch), error)
                await anyio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])

    async def _one_by_one(self, batch: Sequence[Settlement], error: StoreError) -> None:
        """Find what the database does not take, so that it does not hold up the others."""
        if len(batch) == 1:
            self._log.error("a charge is lost, because the database rejects it: %s", error)
            return
        for one in batch:
            await self._book([one])
