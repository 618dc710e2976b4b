"""One server of a pool: its connections, its health and its load."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, Final

from plugway import (
    BackendError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    ModelInfo,
    PlugwayError,
    Upstream,
)
from plugway_anthropic_wire import key_lines
from plugway_pool._health import Health
from plugway_pool._load import MAX_BYTES, Load, load_in, load_of_slots
from plugway_pool._options import Member, PoolOptions

LOAD_SECONDS: Final = 1.0
"""Time limit for reading the load."""
_MOST_WAIT: Final = 60.0
"""Longest time between two tries to read the load of a server that does not report it."""
_MOST_PEAK: Final = 512
_HUNG: Final = 3
"""Checks without a response, in a row, after which a server that serves nothing is ejected."""
_NOT_READY: Final = frozenset((502, 503, 504))


class Server:
    """One server, with the plugin that connects to it."""

    def __init__(
        self, address: str, member: Member, options: PoolOptions, zone: str, log: logging.Logger
    ) -> None:
        self.address = address
        self.member = member
        self.backend = member.backend
        self.health = Health()
        self.running = 0
        """Requests of this gateway that it serves now."""
        self.idle = asyncio.Event()
        """Set while there are none."""
        self.idle.set()
        self.draining = False
        """It left the list: it gets no new requests, and is closed after its last one."""
        self.listed: frozenset[str] = frozenset()
        """The models that it listed last; empty if unknown."""
        self._options = options
        self._log = log
        self._metrics = Upstream(
            address,
            credentials=key_lines(
                options.key_header,
                options.api_key.get_secret_value() if options.api_key else None,
            ),
            network=options,
            zone=zone,
        )
        self._reported: tuple[float, int, Load] | None = None
        """When the load was read, the own requests at that time, and the load."""
        self._peak = 0
        self._served_at = float("-inf")
        self._hung = 0
        self._opened: AsyncExitStack | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # ── `Candidate` ──────────────────────────────────────────────────────────────────────────

    @property
    def comfortable(self) -> int:
        """Requests with which it is never too busy for a new conversation."""
        slots = self._reported[2].slots if self._reported else 0
        return slots or self._options.comfortable

    @property
    def capacity(self) -> int:
        """The most requests that it ran lately while none waited."""
        return min(self._peak, _MOST_PEAK)

    def weight(self, now: float) -> float:
        """Its share of new conversations."""
        return self.health.weight(now)

    def load(self, now: float) -> int:
        """Its requests: this gateway's own now, and those of others when its metrics were read."""
        if self._reported is None:
            return self.running
        when, own, load = self._reported
        if now - when > 3 * self._options.load_seconds + LOAD_SECONDS:
            return self.running
        return self.running + max(0, load.running + load.waiting - own)

    # ── use ──────────────────────────────────────────────────────────────────────────────────

    def served(self, now: float) -> None:
        """It served a request."""
        self._served_at = now
        if self.health.succeeded(now):
            self._log.info("%s is available again", self.address)

    def failed(self, now: float, failure: BackendError) -> None:
        """A request failed because of it."""
        unreachable = isinstance(failure, BackendUnavailable)
        self._failed(now, failure.record, unreachable=unreachable)

    async def models(self) -> Sequence[ModelInfo]:
        """The models that it lists. Raises `BackendError`."""
        found = await self.backend.models()
        self.listed = frozenset(info.id for info in found)
        return found

    def begin(self) -> Callable[[], None]:
        """Count a request; returns a function that ends it, however often it is called."""
        self.running += 1
        self.idle.clear()
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self.running -= 1
                if not self.running:
                    self.idle.set()

        return end

    # ── lifetime ─────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Open its connections, and start to watch it."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.backend)
            await stack.enter_async_context(self._metrics)
            self._opened = stack.pop_all()
        options = self._options
        if options.check_seconds:
            self._watch(self._check_often())
        if options.load_seconds:
            self._watch(self._read_load_often())

    async def close(self) -> None:
        """Stop watching it, and close its connections."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"pool {self.address}")
        task.add_done_callback(self._report)
        self._tasks.append(task)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("stopped watching %s: %s", self.address, type(error).__name__)

    # ── in the background ────────────────────────────────────────────────────────────────────

    async def _check_often(self) -> None:
        while True:
            with suppress(PlugwayError):  # whatever a list of models contains
                await self.check()
            seconds = self._options.check_seconds
            left = (self.health.ejected_until or 0.0) - time.monotonic()
            ejected = not self.health.available
            await asyncio.sleep(min(seconds, max(0.2, left)) if ejected else seconds)

    async def check(self) -> None:
        """Ask it for its models: a server that cannot be reached is ejected before a request meets
        it, and one that was ejected returns."""
        began = time.monotonic()
        try:
            found = await self.models()
        except BackendRefused as failure:
            responds = failure.status not in _NOT_READY
        except BackendTimeout as failure:
            self._is_hung(began, failure)
            return
        except BackendUnavailable as failure:
            self._failed(time.monotonic(), failure.record, unreachable=True)
            return
        except BackendError:
            responds = False
        else:
            responds = not found or any(info.state != "loading" for info in found)
        self._hung = 0
        if responds and self.health.responded(time.monotonic()):
            self._log.info("%s responds again", self.address)

    def _is_hung(self, began: float, failure: BackendError) -> None:
        """A busy server may answer late; one that serves nothing meanwhile hangs."""
        self._hung = 0 if self._served_at > began else self._hung + 1
        if self._hung >= _HUNG:
            self._hung = 0
            self._failed(time.monotonic(), failure.record, unreachable=True)

    def _failed(self, now: float, reason: str, *, unreachable: bool) -> None:
        if self.health.failed(now, reason, unreachable=unreachable):
            seconds = (self.health.ejected_until or now) - now
            self._log.warning("%s gets no requests for %.0f s: %s", self.address, seconds, reason)

    async def _read_load_often(self) -> None:
        failures = 0
        while True:
            load = await self._read_load()
            failures = failures + 1 if load is None else 0
            self._note_load(load)
            seconds = self._options.load_seconds * 2 ** min(failures, 10)
            await asyncio.sleep(min(seconds, max(_MOST_WAIT, self._options.load_seconds)))

    def _note_load(self, load: Load | None) -> None:
        if load is None:
            self._reported, self._peak = None, 0
            return
        self._reported = time.monotonic(), self.running, load
        self._peak = load.running if load.waiting else max(self._peak, load.running)

    async def _read_load(self) -> Load | None:
        """The load by `/metrics`, and the slots by llama-server's `/slots`; None if unknown."""
        page = await self._page("/metrics")
        load = load_in(page) if page else None
        if self._options.kind != "llama-server":
            return load
        page = await self._page("/slots")
        slots = load_of_slots(page) if page else None
        if load is None or slots is None:
            return load or slots
        return load._replace(slots=slots.slots)

    async def _page(self, path: str) -> bytes | None:
        with suppress(BackendError, TimeoutError):
            async with asyncio.timeout(LOAD_SECONDS):
                response = await self._metrics.request("GET", path)
                try:
                    return await response.read(MAX_BYTES) if response.status == 200 else None
                finally:
                    await response.aclose()
        return None


def merged(lists: Sequence[Sequence[ModelInfo]]) -> list[ModelInfo]:
    """The models of all servers, with the smallest window of each: a conversation may move."""
    found: dict[str, ModelInfo] = {}
    for info in (info for models in lists for info in models):
        known = found.setdefault(info.id, info)
        if 0 < info.context_tokens < (known.context_tokens or math.inf):
            found[info.id] = replace(known, context_tokens=info.context_tokens)
    return list(found.values())
