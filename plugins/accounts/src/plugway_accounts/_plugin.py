"""The plugin: authenticates people by their keys, and tells each about itself."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal, Protocol

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from plugway import (
    Bounded,
    Caller,
    Gateway,
    Options,
    Plugin,
    PlugwayError,
    RequestRejected,
    hookimpl,
)
from plugway_accounts._keys import is_key, key_hash
from plugway_accounts._member import Member
from plugway_accounts._people import People
from plugway_accounts._shown import timestamp
from plugway_accounts._tables import SCHEMA
from plugway_store import StoreError, the_store

_FLUSH_SECONDS: Final = 60.0
_REMEMBERED: Final = 1000


class AccountsOptions(Options):
    """Options of `accounts`."""

    if_unavailable: Literal["refuse", "remember"] = "refuse"
    """While the database does not respond: `refuse` every request of a person with status 503, or
    `remember` and accept the keys that this gateway accepted before, though they may have been
    revoked."""


class KnowsPeople(Protocol):
    """The plugin with the people: `the_accounts(gateway)`."""

    @property
    def people(self) -> People:
        """People, groups and keys, while the gateway runs."""
        ...


def the_accounts(gateway: Gateway) -> KnowsPeople:
    """The plugin with the people. Raises `PlugwayError` if the configuration lists none."""
    for _, found in gateway.find(Accounts):
        return found
    raise PlugwayError("nobody is known here: add `- use: accounts` to the plugins")


class Accounts(Plugin[AccountsOptions]):
    """Lets people in by their keys, each with the models granted to them."""

    requires = ("store",)

    def __init__(self, options: AccountsOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._people: People | None = None
        self._used: dict[str, int] = {}
        self._accepted: Bounded[str, Member] = Bounded(_REMEMBERED)

    @property
    def people(self) -> People:
        """People, groups and keys, while the gateway runs."""
        if self._people is None:
            raise PlugwayError("the people are known only while the gateway runs")
        return self._people

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Open the tables; store from time to time when keys were used."""
        if gateway.predecessor is not None:
            for _, before in gateway.predecessor.find(Accounts):
                self._accepted.update(before._accepted)
        async with the_store(gateway).opened(SCHEMA) as store, anyio.create_task_group() as group:
            self._people = People(store)
            group.start_soon(self._flush_often)
            try:
                yield
            finally:
                group.cancel_scope.cancel()
                await self._flush()

    @hookimpl
    async def authenticate(self, token: str) -> Caller | None:
        """The person with this key."""
        if not is_key(token):
            return None
        try:
            found = await self.people.by_key(token)
        except RequestRejected:
            self._accepted.pop(key_hash(token), None)
            raise
        except StoreError as error:
            return self._remembered(token, error)
        if found is not None:
            self._used[found.key] = int(time.time())
            if self.options.if_unavailable == "remember":
                self._accepted[key_hash(token)] = found
        return found

    @hookimpl
    def register_routes(self) -> Sequence[BaseRoute]:
        """The page of each caller about itself."""
        account = Route("/v1/account", self._account, methods=["GET"])
        account.limited_callers = True  # pyright: ignore[reportAttributeAccessIssue]
        return [account]

    async def _account(self, request: Request) -> JSONResponse:
        caller: Caller = request.scope["plugway.caller"]
        models = [one for one in caller.models if one] if caller.limited else ["*"]
        body: dict[str, object] = {"name": caller.name, "models": models}
        if isinstance(caller, Member):
            now = time.time()
            keys = await self.people.keys(caller.person)
            body |= {
                "groups": list(caller.groups),
                "keys": [
                    {
                        "id": key.id,
                        "label": key.label,
                        "state": key.state(now),
                        "expires": timestamp(key.expires),
                        "last_used": timestamp(self._used.get(key.id, key.last_used)),
                    }
                    for key in keys
                ],
            }
        return JSONResponse(body)

    def _remembered(self, token: str, error: StoreError) -> Member:
        found = self._accepted.get(key_hash(token))
        if found is not None:
            return found
        self.log.warning("cannot look up a key: %s", error)
        message = "the database of accounts does not respond: try again"
        raise RequestRejected(message, status=503, retry=True, record=True) from error

    async def _flush_often(self) -> None:
        while True:
            await anyio.sleep(_FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        """Store when keys were used; after a failure, next time."""
        times, self._used = self._used, {}
        if not times:
            return
        try:
            await self.people.used(times)
        except StoreError as error:
            self._used = {**times, **self._used}
            self.log.warning("cannot store when keys were used: %s", error)
