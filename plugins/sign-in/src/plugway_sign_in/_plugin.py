"""The plugin: connects the routes with the database and `accounts`, and checks access tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from starlette.routing import BaseRoute

from plugway import Caller, Gateway, Plugin, PlugwayError, RequestRejected, hookimpl
from plugway_sign_in._managed import Managed
from plugway_sign_in._oauth import OAuth
from plugway_sign_in._options import SignInOptions
from plugway_sign_in._pages import Pages
from plugway_sign_in._parts import Parts
from plugway_sign_in._people import People, open_people
from plugway_sign_in._requests import Requests
from plugway_sign_in._sessions import ACCESS, Sessions
from plugway_sign_in._tables import SCHEMA
from plugway_store import the_store


class SignIn(Plugin[SignInOptions]):
    """Lets people sign in with Claude Code's `/login`."""

    def __init__(self, options: SignInOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._open: Parts | None = None

    @hookimpl
    def register_routes(self) -> Sequence[BaseRoute]:
        """The endpoints of the client, and the page."""
        kinds = (OAuth, Pages, Managed)
        return [route for kind in kinds for route in kind(self.options, self._parts).routes()]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Open the database."""
        people = open_people(self.options, gateway)
        async with the_store(gateway).opened(SCHEMA) as store:
            sessions = Sessions(store, self.options)
            requests = Requests(store, sessions, self.options)
            self._open = Parts(store, sessions, requests, people(store))
            yield

    @hookimpl
    async def authenticate(self, token: str) -> Caller | None:
        """The person with this access token."""
        if not token.startswith(ACCESS):
            return None
        parts = self._parts()
        person = await parts.sessions.person_of(token)
        member = await parts.people.member(person) if person else None
        if member is None:
            if person:
                await parts.sessions.revoke_person(person)
            message = "this sign-in has expired or was revoked: run /login to sign in again"
            raise RequestRejected(message, status=401, retry=False)
        return member

    def _parts(self) -> Parts:
        if self._open is None:
            raise PlugwayError(f"`{self.name}` is not running")
        return self._open
