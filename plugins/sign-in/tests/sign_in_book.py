"""One gateway's view of the database, and a clock that tests turn."""

from contextlib import asynccontextmanager

from plugway_sign_in import SignInOptions
from plugway_sign_in._requests import Requests
from plugway_sign_in._sessions import Sessions
from plugway_sign_in._tables import SCHEMA
from plugway_store import StoreOptions, open_store

HOUR = 3600.0
DAY = 24 * HOUR


class Clock:
    """Stands still until a test turns it."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class Book:
    """Sign-ins and requests in one database."""

    def __init__(self, store, clock, **options):
        self.clock = clock
        self.store = store
        self.options = SignInOptions(**options)
        self.sessions = Sessions(store, self.options, clock)
        self.requests = Requests(store, self.sessions, self.options, clock)

    async def signed_in(self, person="ann"):
        """Tokens of a person who signed in."""
        begun = await self.requests.begin("claude_code")
        browser = await self.requests.claim(begun.user_code)
        assert await self.requests.sign_in(browser, person)
        assert await self.requests.decide(browser, person, True)
        return await self.requests.poll(begun.device_code)


@asynccontextmanager
async def opened(database, clock, **options):
    async with open_store(StoreOptions(**database)) as store:
        await store.migrate(SCHEMA)
        yield Book(store, clock, **options)
