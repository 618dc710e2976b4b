"""The plugin: connects the routes with the database and `accounts`, and checks access tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from plugway import Caller, Gateway, Plugin, PlugwayError, RequestRejected, hookimpl
from plugway_accounts import Member, the_accounts
from plugway_sign_in._managed import Managed
from plugway_sign_in._oauth import OAuth
from plugway_sign_in._options import OidcOptions, SignInOptions
from plugway_sign_in._pages import Pages
from plugway_sign_in._parts import Parts
from plugway_sign_in._people import People
from plugway_sign_in._requests import Requests
from plugway_sign_in._sessions import ACCESS, Sessions
from plugway_sign_in._tables import SCHEMA
from plugway_store import StoreError, the_store

if TYPE_CHECKING:
    from plugway_sign_in._oidc import Provider


class SignIn(Plugin[SignInOptions]):
    """Lets people sign in with Claude Code's `/login`."""

    requires = ("store", "accounts")

    def __init__(self, options: SignInOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._open: Parts | None = None
        self._provider = _provider(options.oidc) if options.oidc else None

    @hookimpl
    def register_routes(self) -> Sequence[BaseRoute]:
        """The endpoints of the client, and the page."""
        return [
            *OAuth(self.options, self._parts).routes(),
            *Pages(self.options, self._parts).routes(),
            *Managed(self.options).routes(),
        ]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Open the database."""
        accounts, oidc = the_accounts(gateway), self.options.oidc
        async with the_store(gateway).opened(SCHEMA) as store:
            sessions = Sessions(store, self.options)
            requests = Requests(store, sessions, self.options)
            people = People(store, accounts, oidc)
            self._open = Parts(store, sessions, requests, people, self._provider)
            yield

    @hookimpl
    async def authenticate(self, token: str) -> Caller | None:
        """The person with this access token."""
        if not token.startswith(ACCESS):
            return None
        try:
            return await self._member(token)
        except StoreError as error:
            self.log.warning("cannot look up an access token: %s", error)
            message = "the database of sign-ins does not respond: try again"
            raise RequestRejected(message, status=503, retry=True, record=True) from error

    async def _member(self, token: str) -> Member:
        parts = self._parts()
        person = await parts.sessions.person_of(token)
        member = await parts.people.member(person) if person else None
        if member is not None:
            return member
        if person:  # so that the sign-in does not come back with the person
            await parts.sessions.revoke_person(person)
        message = "this sign-in has expired or was revoked: run /login to sign in again"
        raise RequestRejected(message, status=401, retry=False, record=True)

    def _parts(self) -> Parts:
        if self._open is None:
            raise PlugwayError(f"`{self.name}` is not running")
        return self._open


def _provider(options: OidcOptions) -> Provider:
    """The provider; its libraries take half a second to import."""
    from plugway_sign_in._oidc import Provider

    return Provider(options)
