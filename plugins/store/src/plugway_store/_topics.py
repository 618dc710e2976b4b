"""Values that the gateways with one database share, such as the choices of conversations.

One loop per gateway writes what plugins put, and reads what others have written, so that no
request waits for the database. `plugway_endpoints.SharesTopics` is what other plugins see.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio

from plugway_store import _values as values
from plugway_store._errors import StoreError
from plugway_store._peers import EVERY_SECONDS, LIVE_SECONDS, Peers
from plugway_store._store import Store
from plugway_store._values import MAX_KEY, MAX_TOPIC, MAX_VALUES, Row

POLL_SECONDS: Final = 0.5
"""How old what a gateway knows of the others may be, besides the time of a query."""
RETRY_SECONDS: Final = 2.0
WRITTEN_SECONDS: Final = 1.2
"""How long a caller waits until others know a value."""
_GATHER_SECONDS: Final = 0.02
"""Values that are put within this time are written together."""
_QUERY_SECONDS: Final = 0.1
_PRUNE_SECONDS: Final = 300.0
_PEERS: Final = "gateways"

_UNREADABLE: Final = (
    *(ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RecursionError),  # infinity as an integer, and lists in lists without end
)
"""What a value raises that another version, or somebody by hand, has written."""

Changed = Callable[[str, Any, float], None]


@dataclass(frozen=True, slots=True)
class _Put:
    """A value that is not written yet."""

    value: str | None
    at: float
    """`time.monotonic()`."""
    until: float
    """`time.monotonic()` when it expires."""


class SharedTopic:
    """One topic: `plugway_endpoints.Topic`."""

    def __init__(self, topics: Topics, name: str, changed: Changed) -> None:
        self.name = name
        self.changed = changed
        self.waiting: dict[str, _Put] = {}
        self.is_reported = False
        """Whether the log has named a value that cannot be read."""
        self._topics = topics

    def put(self, key: str, value: object, seconds: float) -> None:
        """Share a value soon; None removes the previous one."""
        key = json.dumps(key)  # ASCII: PostgreSQL takes no NUL and no half of a character
        if len(key) > MAX_KEY:
            return  # no client has such names; this gateway remembers it alone
        text = None if value is None else json.dumps(value)
        self.waiting.pop(key, None)
        now = time.monotonic()
        self.waiting[key] = _Put(text, now, now + seconds)
        while len(self.waiting) > MAX_VALUES:
            del self.waiting[next(iter(self.waiting))]
        self._topics.wake()

    async def written(self) -> bool:
        """Wait until other gateways know what was put; False if that takes too long."""
        with anyio.move_on_after(WRITTEN_SECONDS):
            while self.waiting:
                if self._topics.problem:
                    return False
                await self._topics.next_round()
            if self._topics.peers.others():
                await anyio.sleep(POLL_SECONDS + _QUERY_SECONDS)  # each of them reads meanwhile
        return not self.waiting


class Topics:
    """The topics of one gateway, and the loop that writes and reads them."""

    def __init__(self, log: logging.Logger) -> None:
        self.gateway = secrets.token_hex(16)
        """This process: what it has written itself is not news to it."""
        self.peers = Peers(log)
        self.problem = ""
        """Why the last attempt failed; empty if it did not."""
        self._log = log
        self._own = SharedTopic(self, _PEERS, self.peers.changed)
        self._topics: list[SharedTopic] = []
        self._seen = 0
        self._wake = anyio.Event()
        self._round = anyio.Event()
        self._announce_at = self._prune_at = 0.0

    def wake(self) -> None:
        """Something waits to be written."""
        self._wake.set()

    async def next_round(self) -> None:
        """Wait until the loop has written and read once more, or failed to."""
        await self._round.wait()

    @asynccontextmanager
    async def shared(
        self, store: Store, name: str, changed: Changed
    ) -> AsyncGenerator[SharedTopic]:
        """Read the values of a topic, and share it until the end of the block."""
        name = name[:MAX_TOPIC]
        topic = SharedTopic(self, name, changed)
        self._topics.append(topic)  # first, so that no change is missed
        try:
            for row in await store.read(values.values_of, name):
                self._deliver(topic, row)
            self.wake()
            yield topic
        finally:
            self._topics.remove(topic)
            with anyio.CancelScope(shield=True):
                await self._save_last(store, topic)

    async def run(self, store: Store, about: Mapping[str, Any]) -> None:
        """Write and read, until cancelled; `about` describes this gateway to the others."""
        while True:
            if self.problem:
                await anyio.sleep(RETRY_SECONDS)
            else:
                with anyio.move_on_after(POLL_SECONDS):
                    await self._wake.wait()
                    await anyio.sleep(_GATHER_SECONDS)
            self._wake = anyio.Event()
            if self._topics:
                self._announce(about)
                await self._try(store)
            self._round.set()
            self._round = anyio.Event()

    def _announce(self, about: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if self._announce_at <= now:
            self._announce_at = now + EVERY_SECONDS
            self.peers.about = about
            self._own.put(self.gateway, about, LIVE_SECONDS)

    async def _try(self, store: Store) -> None:
        try:
            await self._write(store, [*self._topics, self._own])
            await self._read(store)
        except StoreError as error:
            if not self.problem:
                self._log.warning(
                    "nothing is shared with other gateways until the database responds; "
                    "this one continues with what it knows: %s",
                    error,
                )
            self.problem = str(error)
            return
        if self.problem:
            self._log.warning("values are shared with other gateways again")
        self.problem = ""

    async def _save_last(self, store: Store, topic: SharedTopic) -> None:
        if self.problem:
            return
        try:
            await self._write(store, [topic])
        except StoreError as error:
            self._log.warning("the last values were not shared with other gateways: %s", error)

    async def _write(self, store: Store, topics: Sequence[SharedTopic]) -> None:
        now = time.monotonic()
        sent = [(topic, key, put) for topic in topics for key, put in topic.waiting.items()]
        rows = [
            Row(topic.name, key, put.value, self.gateway, put.until - now, put.at)
            for topic, key, put in sent
            if put.until > now
        ]
        if rows:
            await store.write(values.write, rows)
        for topic, key, put in sent:
            if topic.waiting.get(key) is put:
                del topic.waiting[key]
        if rows and self._prune_at <= now:
            self._prune_at = now + _PRUNE_SECONDS
            await store.write(values.prune, [topic.name for topic in topics])

    async def _read(self, store: Store) -> None:
        number, rows = await store.read(values.news, self._seen)
        for row in rows:
            if row.gateway != self.gateway:
                for topic in (*self._topics, self._own):
                    if topic.name == row.topic:
                        self._deliver(topic, row)
        self._seen = number

    def _deliver(self, topic: SharedTopic, row: Row) -> None:
        put = topic.waiting.get(row.key)
        if put is not None:
            if put.at >= row.at:
                return  # this gateway's newer value replaces it
            del topic.waiting[row.key]
        try:
            value = None if row.value is None else json.loads(row.value)
            topic.changed(json.loads(row.key), value, row.seconds)
        except _UNREADABLE as error:
            if topic.is_reported:
                return
            topic.is_reported = True
            self._log.warning(
                "a value of `%s` is ignored, because it cannot be read (%s: %s); others like it "
                "are ignored silently. Does another version of Plugway use this database?",
                topic.name,
                type(error).__name__,
                str(error)[:200],
            )
