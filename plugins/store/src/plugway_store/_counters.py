"""Counts requests and tokens against rates, in this gateway's memory or in Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import quote, urlsplit

import anyio
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from plugway_store._errors import StoreError
from plugway_store._options import StoreOptions

_CONNECTIONS: Final = 50
"""To Redis; more callers wait for one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much is allowed in a time: `Rate(60)` is 60 a minute."""

    amount: int
    seconds: int = 60

    def __post_init__(self) -> None:
        if self.amount < 1 or self.seconds < 1:
            raise ValueError("a rate is at least 1 in 1 s")

    @property
    def item(self) -> RateLimitItemPerSecond:
        """The rate for `limits`."""
        return RateLimitItemPerSecond(self.amount, self.seconds, namespace="plugway")


class Counters:
    """Counts against rates in a sliding window: the last window counts in proportion to how much of
    it is still within the time, so that no more than the amount passes around a window's end.

    Each counter has one or more names, such as `("person", "ann", "requests")`. All methods raise
    `StoreError` if Redis does not respond.
    """

    def __init__(self, storage: Storage, place: str) -> None:
        self.place = place
        """Where is counted, in messages; empty for memory."""
        self._storage = storage
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    @property
    def shared(self) -> bool:
        """Whether other gateways count in the same place."""
        return bool(self.place)

    async def take(self, rate: Rate, *names: str, cost: int = 1) -> bool:
        """Count `cost`, if that much is left; in one step, so that concurrent callers never take
        more than the rate."""
        with _translated(self.place):
            return await self._limiter.hit(rate.item, *map(_quoted, names), cost=cost)

    async def left(self, rate: Rate, *names: str) -> tuple[int, float]:
        """How much is left, and the time (`time.time()`) when the window ends."""
        with _translated(self.place):
            found = await self._limiter.get_window_stats(rate.item, *map(_quoted, names))
        return found.remaining, found.reset_time

    async def clear(self, rate: Rate, *names: str) -> None:
        """Start from zero."""
        with _translated(self.place):
            await self._limiter.clear(rate.item, *map(_quoted, names))


@asynccontextmanager
async def open_counters(options: StoreOptions, before: Counters | None) -> AsyncGenerator[Counters]:
    """The counters of the options; those in memory go on with what `before` counted."""
    if not options.redis:
        yield before if before and not before.shared else Counters(MemoryStorage(), "")
        return
    if find_spec("redis") is None:
        fix = "run `pip install './plugins/store[redis]'`"
        raise StoreError("`redis`", "the package `redis` is not installed", fix)
    parts = urlsplit(options.redis)
    place = f"redis at {parts.hostname}:{parts.port or 6379}"
    redis: Any = import_module("redis.asyncio")
    password = options.redis_password
    pool = redis.BlockingConnectionPool.from_url(
        options.redis,
        **({"password": password.get_secret_value()} if password else {}),
        max_connections=_CONNECTIONS,
        timeout=options.busy_seconds,
        socket_timeout=options.busy_seconds,
        socket_connect_timeout=options.busy_seconds,
    )
    storage = storage_from_string(
        f"async+{options.redis}", implementation="redispy", connection_pool=pool
    )
    assert isinstance(storage, Storage)
    try:
        with _translated(place):
            await storage.get("plugway")
        yield Counters(storage, place)
    finally:
        with anyio.CancelScope(shield=True):
            await pool.aclose()


def _quoted(name: str) -> str:
    """`limits` joins names by slashes."""
    return quote(name, safe="", errors="surrogatepass")


@contextmanager
def _translated(place: str) -> Generator[None]:
    if not place:
        yield
        return
    errors: type[Exception] = import_module("redis.exceptions").RedisError
    try:
        yield
    except (errors, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        fix = "check that Redis runs, and `redis` and `redis_password` in the options of `store`"
        raise StoreError(place, reason, fix, "unreachable") from error
