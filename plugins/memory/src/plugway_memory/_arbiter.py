"""Decides which models stay in memory: reservations, evictions, and who waits for whom.

See `_owners` for the backends, `_watch` for pressure, `_plugin` for exchanges.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

import anyio

from plugway import BackendUnavailable
from plugway_local_models import (
    AsksForRoom,
    Decision,
    HoldsModels,
    Memory,
    MemoryReport,
)
from plugway_memory._options import MemoryOptions, bytes_of, size_text
from plugway_memory._owners import LIST_SECONDS, Held, Key, Owners, fewest, is_loaded
from plugway_memory._shared import Reservation, Shared

Note = Callable[[str], None]

_log = logging.getLogger("plugway.memory")

_LOOK_SECONDS: Final = 0.5
"""How often a waiting load looks at the memory, which other programs may have freed."""
_SETTLE_LOOKS: Final = 10
"""How often is looked until the memory of an unloaded model is available."""
_REFUSED_SECONDS: Final = 30.0
"""How long a model is left alone after it could not be unloaded."""
_MOST_GRACE: Final = 30.0


class Arbiter:
    """Keeps the sum of all models within the machine's memory (`MakesRoom`)."""

    def __init__(
        self,
        backends: Mapping[str, HoldsModels],
        options: MemoryOptions,
        *,
        read: Callable[[], Memory],
        clock: Callable[[], float] = time.monotonic,
        list_seconds: float = LIST_SECONDS,
        shared: Shared | None = None,
    ) -> None:
        """`read` measures the machine; `list_seconds` limits each backend's answer; `shared` is
        that of the arbiter that this one replaces."""
        self.owners = Owners(backends, clock, list_seconds)
        self._options = options
        self._read = read
        self._clock = clock
        self._last: Memory | None = None
        """The last reading."""
        self.shared = shared = shared or Shared()
        self._running, self._used, self._reserved = shared.running, shared.used, shared.reserved
        self._leaving, self._refused_until = shared.leaving, shared.refused_until
        self._decisions = shared.decisions
        self._queue: deque[object] = deque()
        """The loads that want room, the first one first."""
        self._waiting: tuple[Key, float] | None = None
        """The load that waits for room, and since when."""
        self._changed = anyio.Event()

    # ── exchanges ────────────────────────────────────────────────────────────────────────────

    async def begin(self, key: Key, note: Note) -> None:
        """Count an exchange with a model, so that it is not unloaded until `end`. Waits while it is
        just being unloaded, or while another model has waited for room too long."""
        waited = ""
        while reason := self._closed(key):
            if reason != waited:
                note(f"waits: {reason}")
                waited = reason
            await self._change()
        self._running[key] += 1

    def end(self, key: Key) -> None:
        """The exchange is over, and its stream closed."""
        self._running[key] -= 1
        if self._running[key] <= 0:
            del self._running[key]
        self._used[key] = self._clock()
        self._notify()

    @asynccontextmanager
    async def present(self, key: Key, note: Note) -> AsyncGenerator[None]:
        """Make room for a model that its backend loads with the first request; nothing to do if it
        is loaded, or if the backend asks for room itself.

        Raises:
            BackendUnavailable: as `loading` does.
        """
        backend, model = key
        if isinstance(self.owners.backends[backend], AsksForRoom):
            yield
            return
        if is_loaded(key, await self.owners.of(key[0])):
            yield
            return
        async with self.loading(backend, model, await self.owners.needs(backend, model), note):
            yield

    def _closed(self, key: Key) -> str:
        """Why an exchange with the model has to wait; empty if it can begin."""
        if key in self._leaving:
            return f"`{'/'.join(key)}` is being unloaded"
        if self._waiting is None or key in self._reserved or self._stays(key):
            return ""
        waiting, since = self._waiting
        grace = min(_MOST_GRACE, self._options.wait_seconds / 4)
        if waiting == key or self._clock() - since < grace:
            return ""
        return f"it is the turn of `{'/'.join(waiting)}`, which waited for memory"

    # ── `MakesRoom` ──────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def loading(
        self, backend: str, model: str, size: int, note: Note
    ) -> AsyncGenerator[None]:
        """Hold `size` bytes while a model is loaded; see `MakesRoom`."""
        key = (backend, model)
        reservation = self._reserved.get(key) or await self._admit(key, size, note)
        if reservation is None:
            yield
            return
        reservation.holders += 1
        try:
            yield
        finally:
            reservation.holders -= 1
            if not reservation.holders:
                del self._reserved[key]
            self._notify()

    async def obtainable(self, backend: str, model: str) -> int:
        """Bytes for the model if all others that may be unloaded were; see `MakesRoom`."""
        held = await self.owners.all()
        others = [one for one in held if one.key != (backend, model) and self._may_leave(one)]
        return max(0, self.free(held) + sum(one.loaded.size for one in others))

    async def report(self) -> MemoryReport:
        """The present state; see `MakesRoom`."""
        held, now = await self.owners.all(), self._clock()
        memory = self.read()
        reserve = self.reserve(memory)
        return MemoryReport(
            memory.total,
            max(0, self.free(held) + reserve),
            reserve,
            [(one.backend, self._as_known(one).loaded) for one in held],
            [Decision(round(now - when, 1), what) for when, what in self._decisions],
        )

    # ── room for a load ──────────────────────────────────────────────────────────────────────

    async def _admit(self, key: Key, size: int, note: Note) -> Reservation | None:
        """A reservation once `size` bytes are free, for which idle models are unloaded. None if the
        model was loaded meanwhile. One load after the other decides, in the order in which they
        came."""
        place = object()
        self._queue.append(place)
        deadline = self._clock() + self._options.wait_seconds
        tried: set[Key] = set()
        try:
            while True:
                if reservation := self._reserved.get(key):
                    return reservation
                if self._queue[0] is place:
                    held = await self.owners.all()
                    if is_loaded(key, held):
                        return None
                    if await self._has_room(key, size, held, tried, note):
                        return self._hold(key, size)
                elif await self.owners.still_has(key):
                    return None
                if self._clock() >= deadline:
                    raise self._overloaded(key, size, self.owners.known)
                await self._change()
        finally:
            if self._queue[0] is place:  # only the first one waits for memory
                self._waiting = None
            self._queue.remove(place)
            self._notify()

    def _hold(self, key: Key, size: int) -> Reservation:
        reservation = self._reserved[key] = Reservation(size)
        return reservation

    async def _has_room(
        self, key: Key, size: int, held: Sequence[Held], tried: set[Key], note: Note
    ) -> bool:
        """Whether `size` bytes are free, after idle models were unloaded for them if that is
        enough; `tried` has those that were, so that none is tried twice."""
        while size > self.free(held):
            self._check_possible(key, size, held)
            others = [one for one in held if one.key not in tried]
            victims = self._victims(key, others, size - self.free(held))
            if not victims:
                if not size and not any(self._may_leave(one) for one in held if one.key != key):
                    return True  # it may need nothing here, and there is nothing to wait for
                if self._waiting is None:
                    self._waiting = (key, self._clock())
                    note(f"waits for memory: {self._sum(key, size, held)}")
                return False
            tried |= {one.key for one in victims}
            await self._unload(victims, size, f"for `{'/'.join(key)}`", note)
            held = await self.owners.all()
        return True

    def _victims(self, key: Key, held: Sequence[Held], short: int) -> list[Held]:
        """The idle models to unload so that `short` more bytes are free; none if that is not
        enough. Models of unknown size go first of all if the others are not enough."""
        if self._reserved and short <= sum(one.size for one in self._reserved.values()):
            return []  # what is being loaded has partly taken its memory: look again after that
        idle = self._in_order([one for one in held if one.key != key and self._is_idle(one)])
        sized = [one for one in idle if one.loaded.size]
        freed = sum(one.loaded.size for one in sized)
        if freed < short:
            return [one for one in idle if not one.loaded.size][:1]
        return fewest(sized, short)

    async def _unload(self, victims: Sequence[Held], size: int, why: str, note: Note) -> None:
        """Unload models one after the other, and wait until their memory is available."""
        done = [await self.evict(one, why, note) for one in victims]
        for _ in range(_SETTLE_LOOKS if all(done) else 0):
            if size <= self.free(await self.owners.all()):
                return
            await anyio.sleep(_LOOK_SECONDS)

    async def evict(self, one: Held, why: str, note: Note) -> bool:
        """Unload an idle model; exchanges for it wait. False if it is not idle any more, or could
        not be unloaded."""
        now = await self.owners.of(one.backend)
        if not any(fresh.key == one.key and self._is_idle(fresh) for fresh in now):
            return False
        self._leaving.add(one.key)
        try:
            failure = await self.owners.unload(one)
        finally:
            self._leaving.discard(one.key)
            self._notify()
        if failure:
            self._refused_until[one.key] = self._clock() + _REFUSED_SECONDS
            self.record(f"`{one.target}` could not be unloaded {why}: {failure}", note)
            return False
        idle = self._idle_seconds(one)
        facts = [size_text(one.loaded.size)] if one.loaded.size else ["of unknown size"]
        facts += [f"idle for {idle:.0f} s"] if idle is not None else []
        self.record(f"unloaded `{one.target}` ({', '.join(facts)}) {why}", note)
        return True

    def _check_possible(self, key: Key, size: int, held: Sequence[Held]) -> None:
        """Raises `BackendUnavailable` if the model does not fit even with all others unloaded."""
        memory = self.read()
        stay = [one for one in held if one.key != key and not self._may_leave(one)]
        kept = sum(one.loaded.size for one in stay)
        if size <= memory.total - self.reserve(memory) - kept:
            return
        staying = f" - {size_text(kept)} of models that stay" if kept else ""
        raise BackendUnavailable(
            f"`{'/'.join(key)}` can never fit into memory: it needs {size_text(size)}; "
            f"{size_text(memory.total)} of this machine - {size_text(self.reserve(memory))} in "
            f"reserve{staying} leave {size_text(memory.total - self.reserve(memory) - kept)}. "
            "Use a smaller quantization or a smaller context, or lower `reserve` of the plugin "
            "`memory`",
            status=503,
            permanent=True,
        )

    def _overloaded(self, key: Key, size: int, held: Sequence[Held]) -> BackendUnavailable:
        text = f"no memory for `{'/'.join(key)}` within {self._options.wait_seconds:g} s: "
        self.record(text + self._sum(key, size, held))
        return BackendUnavailable(text + self._sum(key, size, held), status=529, retry_after=5.0)

    def _sum(self, key: Key, size: int, held: Sequence[Held]) -> str:
        others = [one for one in map(self._as_known, held) if one.key != key]
        busy = [f"`{one.target}`" for one in others if not self._is_idle(one)]
        are = f"; busy or kept: {', '.join(busy)}" if busy else ""
        return (
            f"{size_text(size)} are needed, {size_text(max(0, self.free(held)))} are free beside "
            f"a reserve of {size_text(self.reserve(self.read()))}{are}"
        )

    # ── what is known ────────────────────────────────────────────────────────────────────────

    def read(self) -> Memory:
        """The machine's memory, or less if a backend knows a narrower limit. Without a new reading,
        the last one.

        Raises:
            OSError: it was never measured.
        """
        try:
            self._last = self._read()
        except OSError as error:
            if self._last is None:
                raise
            _log.warning("the memory cannot be measured: %s", error)
        total, available = self._last.total, self._last.available
        for other in self.owners.limits():
            total, available = min(total, other.total), min(available, other.available)
        return Memory(total, available)

    def reserve(self, memory: Memory) -> int:
        """Bytes that stay free."""
        return bytes_of(self._options.reserve, memory.total)

    def free(self, held: Sequence[Held]) -> int:
        """Bytes for another model; negative if the reserve is in use, or will be."""
        return self.spare(held) - sum(one.size for one in self._reserved.values())

    def spare(self, held: Sequence[Held]) -> int:
        """Bytes that are available now beside the reserve. Weights that are mapped from files count
        as used, although the system counts them as available."""
        memory = self.read()
        mapped = sum(min(one.loaded.reclaimable, one.loaded.size) for one in held)
        return memory.available - self.reserve(memory) - mapped

    def idle(self, held: Sequence[Held]) -> list[Held]:
        """The models that may be unloaded now, the first one first."""
        return self._in_order([one for one in held if self._is_idle(one)])

    def record(self, what: str, note: Note | None = None) -> None:
        """Keep a decision for `plugway models ps`; `note` puts it on a receipt, too."""
        self._decisions.append((self._clock(), what))
        _log.info("%s", what)
        if note is not None:
            note(what)

    def _is_idle(self, one: Held) -> bool:
        loaded = one.loaded
        free = loaded.state != "loading" and not loaded.requests and not one.stale
        known = one.key in self._reserved or one.key in self._leaving
        refused = self._clock() < self._refused_until.get(one.key, 0.0)
        running = self._running.get(one.key, 0)
        return free and not (known or refused or running) and self._may_leave(one)

    def _may_leave(self, one: Held) -> bool:
        return not one.loaded.kept and not self._stays(one.key)

    def _stays(self, key: Key) -> bool:
        return any(fnmatchcase("/".join(key), pattern) for pattern in self._options.keep)

    def _idle_seconds(self, one: Held) -> float | None:
        own = self._used.get(one.key)
        known = [] if own is None else [self._clock() - own]
        known += [] if one.loaded.idle_seconds is None else [one.loaded.idle_seconds]
        return min(known, default=None)

    def _as_known(self, one: Held) -> Held:
        requests = max(one.loaded.requests, self._running.get(one.key, 0))
        state = "unloading" if one.key in self._leaving else one.loaded.state
        idle = 0.0 if requests else self._idle_seconds(one)
        loaded = replace(one.loaded, requests=requests, idle_seconds=idle, state=state)
        return replace(one, loaded=loaded)

    def _in_order(self, idle: Sequence[Held]) -> list[Held]:
        match self._options.order:
            case "smallest":
                return sorted(idle, key=lambda one: one.loaded.size)
            case "largest":
                return sorted(idle, key=lambda one: -one.loaded.size)
            case "listed":
                places = list(self.owners.backends)
                return sorted(idle, key=lambda one: -places.index(one.backend))
            case "lru":
                return sorted(idle, key=self._since, reverse=True)

    def _since(self, one: Held) -> float:
        """Seconds of idleness; of a model that nobody used through the gateway, the longest."""
        idle = self._idle_seconds(one)
        return float("inf") if idle is None else idle

    async def _change(self) -> None:
        """Wait until something ended, or the memory has to be looked at again."""
        with anyio.move_on_after(_LOOK_SECONDS):
            await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
