"""A gateway with people, for tests: `async with serving(database) as team`."""

from contextlib import asynccontextmanager

import httpx2

from plugway.testing import PlainBackend, build_plugin, gateway, request_body
from plugway_accounts import SCHEMA, Accounts, People
from plugway_store import StoreOptions, StorePlugin, open_store


class Team:
    """A gateway with a store, accounts, and the backend `plain` with a model for every name."""

    def __init__(self, running):
        self.running = running
        self.plugins = {plugin.name: plugin for plugin in running.app.snapshot.plugins}

    @property
    def people(self):
        return self.plugins["accounts"].people

    @property
    def backend(self):
        return self.plugins["plain"]

    async def call(self, token, method="GET", path="/v1/account", headers=None, **body):
        """The response to a request with this token."""
        headers = {"authorization": f"Bearer {token}"} | (headers or {}) if token else headers
        async with httpx2.AsyncClient(
            base_url=self.running.url, headers=headers, trust_env=False, verify=False, timeout=30
        ) as client:
            return await client.request(method, path, **body)

    async def ask(self, token, model="plain/m", headers=None, **fields):
        body = request_body("hello", model=model, **fields)
        return await self.call(token, "POST", "/v1/messages", headers, json=body)


@asynccontextmanager
async def serving(database, *plugins, options=None, **server):
    """A gateway with this database; other plugins stand before the backend."""
    stack = [
        build_plugin(StorePlugin, "store", **database),
        build_plugin(Accounts, "accounts", **(options or {})),
        *plugins,
        build_plugin(PlainBackend, "plain"),
    ]
    async with gateway(stack, **server) as running:
        yield Team(running)


@asynccontextmanager
async def people_in(database):
    """People without a gateway."""
    async with open_store(StoreOptions(**database)) as store:
        await store.migrate(SCHEMA)
        yield People(store)
