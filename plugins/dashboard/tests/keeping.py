"""Histories in each place, and gateways with one."""

import time
from contextlib import asynccontextmanager

import sqlalchemy as sa

from plugway.testing import build_plugin
from plugway_dashboard import Dashboard
from plugway_dashboard._file import FileHistory, history_path
from plugway_dashboard._search import query_of
from plugway_dashboard._stored import SCHEMA, StoredHistory
from plugway_echo import Echo
from plugway_store import StoreOptions, StorePlugin, open_store

DAY = 24 * 3600
HERE = "gw-1 http://127.0.0.1:8484"


def stack(place, **options):
    """Plugins of a gateway with a history in that place."""
    store = [] if place is None else [build_plugin(StorePlugin, "store", **place)]
    options = {"history": True, **options}
    return [build_plugin(Dashboard, "dashboard", **options), *store, build_plugin(Echo, "echo")]


@asynccontextmanager
async def kept_in(place, name="dashboard", gateway=HERE, **options):
    """The history of the plugin `name` in that place."""
    options = {"days": 30, "rows": 1000, **options}
    if place is None:
        yield FileHistory(history_path(name), **options)
        return
    async with open_store(StoreOptions(**place)) as store:
        await store.migrate(SCHEMA)
        yield StoredHistory(store, name, gateway, **options)


async def statement(place, text, **values):
    """Execute a statement on the table `exchanges` there, besides the gateway."""
    async with kept_in(place) as history:
        text = text.replace("exchanges", history._table)
        if place is None:
            return await history._write(text, [values])
        return await history._store.execute(sa.text(text), values)


def query(words="", caller=None, failed=False):
    return query_of(words, failed=failed, caller=caller)


async def ids(history, words="", **more):
    """The requests that are found, the newest first."""
    result = await history.find(query(words, **more), None, 100)
    return [one["request_id"] for one in result.items]


async def found(running, words="", headers=None, **more):
    """What the gateway's route finds."""
    params = {"q": words, **more}
    answer = await running.client.get("/dashboard/history", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def yesterday():
    return time.time() - DAY
