"""Keeps what was spent in the database of `store`, so that a restart does not forget it.

Each run of a gateway has rows of its own with the sums of that run: writing one again changes
nothing, and the sum over all rows is what a conversation has spent. Imported only if `store` is
listed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import sqlalchemy as sa

from plugway import Gateway
from plugway_budget_tree._limits import Limits
from plugway_budget_tree._tree import Totals, Tree
from plugway_store import HoldsStore, Schema, Store, StoreError, insert_into

SCHEMA: Final = Schema("budget_tree", Path(__file__).parent / "migrations")
READ_SECONDS: Final = 1.5
"""Time to read a conversation; the kernel allows a hook 2 s."""
RETRY_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 30 * 86_400
"""A conversation that is not used for so long is forgotten."""

_METADATA: Final = sa.MetaData()
_COUNTS: Final = ("nano", "tokens", "calls", "unpriced")
_SPENT: Final = sa.Table(
    "budget_tree_spent",
    _METADATA,
    sa.Column("conversation", sa.String(256), primary_key=True),
    sa.Column("gateway", sa.String(32), primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in (*_COUNTS, "used")),
)
_ASKED: Final = sa.Table(
    "budget_tree_asked",
    _METADATA,
    sa.Column("conversation", sa.String(256), primary_key=True),
    *(sa.Column(name, sa.BigInteger) for name in Limits._fields),
    sa.Column("used", sa.BigInteger, nullable=False),
)
_OWN: Final = sa.select(*(_SPENT.c[name] for name in _COUNTS)).where(
    _SPENT.c.conversation == sa.bindparam("name"), _SPENT.c.gateway == sa.bindparam("gateway")
)
_OTHERS: Final = sa.select(
    *(sa.func.coalesce(sa.func.sum(_SPENT.c[name]), 0) for name in _COUNTS)
).where(_SPENT.c.conversation == sa.bindparam("name"), _SPENT.c.gateway != sa.bindparam("gateway"))
_ASKED_FOR: Final = sa.select(*(_ASKED.c[name] for name in Limits._fields)).where(
    _ASKED.c.conversation == sa.bindparam("name")
)


class Saved:
    """The conversations in the database."""

    def __init__(self, store: Store, log: logging.Logger, gateway: str = "") -> None:
        self._store = store
        self._log = log
        self.gateway = gateway or secrets.token_hex(16)
        """The run that the rows of this process belong to."""
        self._changed: dict[str, Tree] = {}
        self._asked: dict[str, Limits] = {}
        self._wake = anyio.Event()
        self._problem = ""

    async def refresh(self, tree: Tree) -> str:
        """Read what others have spent, and once what this run has. Returns why that is not
        possible; empty if it is."""
        if self._problem:
            return self._problem
        try:
            await self._load(tree)
        except StoreError as error:
            self._log.error("what conversations have spent cannot be read: %s", error)  # noqa: TRY400
            return str(error)
        return ""

    async def _load(self, tree: Tree) -> None:
        values = {"name": tree.name, "gateway": self.gateway}
        task = asyncio.ensure_future(self._store.read(_read, values, not tree.known))
        done, _ = await asyncio.wait({task}, timeout=READ_SECONDS)  # it cannot be cancelled
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            reason = f"did not respond within {READ_SECONDS:g} s"
            raise StoreError("the database", reason, "find out what it is busy with", "busy")
        own, tree.others, asked = task.result()
        if not tree.known:
            tree.known, tree.own = True, tree.own.plus(own)
        if tree.name not in self._asked:
            tree.asked = asked

    def changed(self, tree: Tree) -> None:
        """Save what a conversation has spent, soon."""
        self._changed[tree.name] = tree
        self._wake.set()

    def asked(self, tree: Tree) -> None:
        """Save the limits that the user has set, soon."""
        self._asked[tree.name] = tree.asked
        self._wake.set()

    async def run(self) -> None:
        """Save what has changed, until cancelled."""
        await self._until_done(self._forget)
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            await self._until_done(self.save)

    async def _until_done(self, action: Callable[[], Awaitable[None]]) -> None:
        while not await self._try(action):  # noqa: ASYNC110  the database does not tell
            await anyio.sleep(RETRY_SECONDS)

    async def save(self) -> None:
        """Save what has changed. Raises `StoreError`; call it again later."""
        for tree in [one for one in self._changed.values() if not one.known]:
            await self._load(tree)  # its row may have sums of this run already
        changed = {name: (tree, tree.own) for name, tree in self._changed.items()}
        asked = dict(self._asked)
        if not changed and not asked:
            return
        now = int(time.time())
        common = {"gateway": self.gateway, "used": now}
        rows = [
            {"conversation": name, **common, **own._asdict()} for name, (_, own) in changed.items()
        ]
        limits = [{"conversation": n, "used": now, **one._asdict()} for n, one in asked.items()]
        await self._store.write(_write, rows, limits)
        for name, (tree, own) in changed.items():
            if tree.own == own:
                self._changed.pop(name, None)
        for name, wanted in asked.items():
            if self._asked.get(name) == wanted:
                del self._asked[name]

    async def close(self) -> None:
        """Save what is left."""
        await self._try(self.save)

    async def _forget(self) -> None:
        oldest = int(time.time()) - KEPT_SECONDS
        for table in (_SPENT, _ASKED):
            await self._store.execute(sa.delete(table).where(table.c.used < oldest), {})

    async def _try(self, action: Callable[[], Awaitable[None]]) -> bool:
        try:
            await action()
        except StoreError as error:
            if not self._problem:
                self._log.error("what conversations have spent cannot be saved: %s", error)  # noqa: TRY400
            self._problem = str(error)
            return False
        if self._problem:
            self._log.warning("what conversations have spent can be saved again")
        self._problem = ""
        return True


def store_of(gateway: Gateway) -> HoldsStore | None:
    """The database, if one is configured."""
    return next((holder for _, holder in gateway.find(HoldsStore)), None)


def _read(
    connection: sa.Connection, values: Mapping[str, Any], with_own: bool
) -> tuple[Totals, Totals, Limits]:
    own = connection.execute(_OWN, values).first() if with_own else None
    others = connection.execute(_OTHERS, values).one()
    asked = connection.execute(_ASKED_FOR, {"name": values["name"]}).first()
    return (
        Totals(*map(int, own)) if own else Totals(),
        Totals(*map(int, others)),  # PostgreSQL sums big integers as decimals
        Limits(*asked) if asked else Limits(),
    )


def _write(
    connection: sa.Connection, rows: list[dict[str, Any]], limits: list[dict[str, Any]]
) -> None:
    """Insert or replace. Sums only grow, so an older row never replaces a newer one."""
    for row in rows:
        statement = insert_into(connection, _SPENT).values(row)
        new = statement.excluded
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[_SPENT.c.conversation, _SPENT.c.gateway],
                set_={name: new[name] for name in (*_COUNTS, "used")},
                where=_SPENT.c.calls <= new["calls"],
            )
        )
    for row in limits:
        statement = insert_into(connection, _ASKED).values(row)
        new = {name: statement.excluded[name] for name in (*Limits._fields, "used")}
        connection.execute(
            statement.on_conflict_do_update(index_elements=[_ASKED.c.conversation], set_=new)
        )
