"""The plugin that holds the database, and how other plugins and commands open it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import anyio

from plugway import Gateway, LocalGateway, Plugin, PlugwayError, hookimpl
from plugway_store._counters import Counters
from plugway_store._options import StoreOptions
from plugway_store._peers import about
from plugway_store._schema import Schema
from plugway_store._store import Store, open_store
from plugway_store._topics import Changed, SharedTopic, Topics
from plugway_store._values import SCHEMA

T = TypeVar("T")
Flaw = tuple[tuple[str | int, ...], str]
"""A place below the options, and what is wrong there."""


@runtime_checkable
class HoldsStore(Protocol):
    """The plugin with the database: `the_store(gateway)` finds it."""

    def opened(self, schema: Schema) -> AbstractAsyncContextManager[Store]:
        """Open the database with the tables of `schema`, in the lifespan of the plugin that has
        them. It is closed when the last plugin leaves it. Raises `StoreError`."""
        ...


def the_store(gateway: Gateway) -> HoldsStore:
    """The plugin with the database. Raises `PlugwayError` if the configuration lists none, or more
    than one."""
    found = gateway.find(HoldsStore)
    if not found:
        raise PlugwayError("no database is configured: add `- use: store` to the plugins")
    if len(found) > 1:
        names = " and ".join(f"`{name}`" for name, _ in found)
        raise PlugwayError(f"{names} are both databases: list one of them")
    return found[0][1]


class StorePlugin(Plugin[StoreOptions]):
    """Holds the database of the plugins that need one."""

    def __init__(self, options: StoreOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._lock = anyio.Lock()
        self._users = 0
        self._opening: AbstractAsyncContextManager[Store] | None = None
        self._store: Store | None = None
        self._counters: Counters | None = None
        self._topics = Topics(self.log)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Passwords without a server to send them to."""
        flaws: list[Flaw] = []
        if self.options.password is not None and not self.options.is_postgresql:
            flaws.append((("password",), "is for PostgreSQL: an SQLite file has none"))
        if self.options.redis_password is not None and not self.options.redis:
            flaws.append((("redis_password",), "needs `redis`, which is not set"))
        return flaws

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """Open the database while the gateway runs, so that a failure is reported as this plugin's;
        plugins that are listed before it can use it too."""
        the_store(gateway)
        if gateway.predecessor is not None:
            for _, before in gateway.predecessor.find(StorePlugin):
                self._counters = before._counters
                self._topics.gateway = before._topics.gateway
        return self._live(gateway)

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        async with self._open() as store, anyio.create_task_group() as tasks:
            tasks.start_soon(self._topics.run, store, about(gateway))
            yield
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def share_topic(self, name: str, changed: Changed) -> AsyncGenerator[SharedTopic]:
        """Share values with the other gateways: `plugway_endpoints.SharesTopics`."""
        async with (
            self.opened(SCHEMA) as store,
            self._topics.shared(store, name, changed) as topic,
        ):
            yield topic

    @asynccontextmanager
    async def opened(self, schema: Schema) -> AsyncGenerator[Store]:
        """Open the database with the tables of `schema`."""
        async with self._open() as store:
            await store.migrate(schema)
            yield store

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Store]:
        async with self._lock:
            if self._store is None:
                opening = open_store(self.options, self._counters)
                self._store = await opening.__aenter__()
                self._opening = opening
                self._counters = self._store.counters
                self._warn(self._store)
            store = self._store
            self._users += 1
        try:
            yield store
        finally:
            with anyio.CancelScope(shield=True):
                async with self._lock:
                    self._users -= 1
                    if not self._users and self._opening is not None:
                        await self._opening.__aexit__(None, None, None)
                        self._store = self._opening = None

    def _warn(self, store: Store) -> None:
        if store.kind == "postgresql" and not store.counters.shared:
            self.log.warning(
                "each gateway counts rates alone: set `redis` for several with this database"
            )


@asynccontextmanager
async def configured_store(schema: Schema, config: Path | None = None) -> AsyncGenerator[Store]:
    """The database of the user's configuration, or of the one at `config`, for commands.

    Raises `PlugwayError` if it lists no `store`, and `ConfigError` for its options.
    """
    gateway = LocalGateway.find(config)
    options = gateway.options_of("store", StoreOptions)
    if options is None:
        raise PlugwayError(
            f"{gateway.config_path} lists no database: add `- use: store` to its plugins"
        )
    async with open_store(options) as store:
        await store.migrate(schema)
        yield store


def run_with_store(
    schema: Schema, work: Callable[[Store], Awaitable[T]], config: Path | None = None
) -> T:
    """The result of work on `configured_store`, for commands that are not asynchronous."""

    async def run() -> T:
        async with configured_store(schema, config) as store:
            return await work(store)

    return anyio.run(run)
