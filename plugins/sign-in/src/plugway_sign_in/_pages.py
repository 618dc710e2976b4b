"""The verification page: the code, who somebody is, and their consent (RFC 8628, 3.3 and 5).

A browser that has entered a code holds a cookie for that request only, until it is answered.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from plugway_sign_in._addresses import base_url
from plugway_sign_in._errors import NotLetIn
from plugway_sign_in._html import HEADERS, code_page, confirm_page, last_page, ways_page
from plugway_sign_in._oauth import PAGE, read_form
from plugway_sign_in._options import SignInOptions
from plugway_sign_in._parts import Parts
from plugway_sign_in._routes import PublicRoute, peer
from plugway_store import Rate, StoreError

log = logging.getLogger("plugway.sign-in")

WAYS: Final = "/device/sign-in"
PASSWORD: Final = "/device/password"
PROVIDER: Final = "/device/provider"
CALLBACK: Final = "/device/callback"
DECIDE: Final = "/device/decide"

_CODES: Final = Rate(30, 60)
"""Codes that one address may try: guessing one of ten would take 160 years."""
_PASSWORDS: Final = Rate(30, 60)
_PASSWORDS_OF_ONE: Final = Rate(10, 300)
"""Passwords that one address may try, and that may be tried for one name."""
_LATER: Final = "Too many attempts. Wait a minute, and try again."
_AGAIN: Final = "This code is unknown or has expired. Check it, or run /login again."


class _EndedError(Exception):
    """A browser may not answer a request, or not any more."""


@dataclass(frozen=True, slots=True)
class _Browser:
    """A browser that may answer a request."""

    secret: str
    request: Row[Any]

    @property
    def csrf(self) -> str:
        """What its forms contain, and other sites cannot know."""
        return hashlib.sha256(b"csrf " + self.secret.encode()).hexdigest()

    @property
    def code(self) -> str:
        """The code as the client shows it."""
        text = self.request.user_code
        return f"{text[:4]}-{text[4:]}"


class Pages:
    """Answers browsers."""

    def __init__(self, options: SignInOptions, parts: Callable[[], Parts]) -> None:
        self._options = options
        self._parts = parts

    def routes(self) -> list[BaseRoute]:
        """The routes."""
        found: list[BaseRoute] = [
            PublicRoute(PAGE, _page(self._start), methods=["GET"]),
            PublicRoute(PAGE, _page(self._enter), methods=["POST"]),
            PublicRoute(WAYS, _page(self._ways), methods=["GET"]),
            PublicRoute(DECIDE, _page(self._decide), methods=["POST"]),
        ]
        if self._options.passwords:
            found.append(PublicRoute(PASSWORD, _page(self._password), methods=["POST"]))
        if self._options.oidc is not None:
            found.append(PublicRoute(PROVIDER, _page(self._leave), methods=["GET"]))
            found.append(PublicRoute(CALLBACK, _page(self._return), methods=["GET"]))
        return found

    # ── the code ─────────────────────────────────────────────────────────────────────────────

    async def _start(self, request: Request) -> Response:
        return code_page(request.query_params.get("user_code", "")[:20])

    async def _enter(self, request: Request) -> Response:
        typed = (await read_form(request)).get("user_code", "")[:20]
        parts = self._parts()
        if not await parts.store.counters.take(_CODES, "sign-in", "code", peer(request)):
            return code_page(typed, _LATER, 429)
        browser = await parts.requests.claim(typed)
        if browser is None:
            return code_page(typed, _AGAIN, 400)
        response = self._see(WAYS)
        secure = self._is_secure(request)
        response.set_cookie(
            _cookie(secure=secure), browser, httponly=True, secure=secure, samesite="lax", path="/"
        )
        return response

    # ── who somebody is ──────────────────────────────────────────────────────────────────────

    async def _ways(self, request: Request) -> Response:
        browser = await self._browser(request)
        person, people = browser.request.person, self._parts().people
        if person is None or await people.member(person) is None:
            return self._ask(browser)
        return confirm_page(browser.csrf, await people.label(person), browser.code)

    async def _password(self, request: Request) -> Response:
        form = await read_form(request)
        browser = await self._browser(request, form)
        parts, name = self._parts(), form.get("name", "").strip().lower()[:200]
        counters = parts.store.counters
        allowed = await counters.take(_PASSWORDS, "sign-in", "password", peer(request))
        named = hashlib.sha256(name.encode()).hexdigest()
        if not allowed or not await counters.take(_PASSWORDS_OF_ONE, "sign-in", "name", named):
            return self._ask(browser, _LATER, 429)
        if not await parts.people.check_password(name, form.get("password", "")):
            log.warning("a sign-in from %s failed: wrong name or password", peer(request))
            return self._ask(browser, "The name or the password is wrong.", 401)
        return await self._signed_in(browser, name)

    async def _leave(self, request: Request) -> Response:
        """Send the browser to the provider. This is a link, not a form, because the provider may
        redirect to other sites, which `form-action` would have to allow."""
        browser = await self._browser(request)
        parts = self._parts()
        try:
            redirect = await parts.provider.begin(self._callback(request))
        except NotLetIn as problem:
            return self._not_let_in(browser, problem, 502)
        known = (redirect.state, redirect.nonce, redirect.verifier)
        if not await parts.requests.set_oidc(browser.secret, *known):
            raise _EndedError
        return self._see(redirect.url)

    async def _return(self, request: Request) -> Response:
        """The browser comes back from the provider."""
        browser = await self._browser(request)
        parts, query = self._parts(), dict(request.query_params)
        known = await parts.requests.take_oidc(browser.secret, query.get("state", ""))
        if known is None:
            return self._ask(browser, "This sign-in was not started here. Try again.", 400)
        try:
            identity = await parts.provider.finish(query, self._callback(request), *known)
            person = await parts.people.identified(identity)
        except NotLetIn as problem:
            return self._not_let_in(browser, problem, 403)
        return await self._signed_in(browser, person)

    # ── consent ──────────────────────────────────────────────────────────────────────────────

    async def _decide(self, request: Request) -> Response:
        form = await read_form(request)
        browser = await self._browser(request, form)
        parts, person = self._parts(), browser.request.person
        if person is None:
            raise _EndedError
        wanted = form.get("decision") == "allow"
        allow = wanted and await parts.people.member(person) is not None
        if not await parts.requests.decide(browser.secret, person, allow):
            raise _EndedError
        log.info("%s %s a sign-in", person, "allowed" if allow else "denied")
        if allow:
            response = last_page("You are signed in", "Go back to your terminal.")
        else:
            text = "Nothing was allowed. If you did not start this, tell your administrator."
            response = last_page("Denied", text)
        response.delete_cookie(_cookie(secure=self._is_secure(request)), path="/")
        return response

    # ── parts ────────────────────────────────────────────────────────────────────────────────

    async def _browser(self, request: Request, form: Mapping[str, str] | None = None) -> _Browser:
        """The browser. Raises `_EndedError` unless its cookie belongs to a request that waits, and
        the form is its own."""
        secret = request.cookies.get(_cookie(secure=self._is_secure(request)), "")
        row = await self._parts().requests.of_browser(secret) if secret else None
        if row is None:
            raise _EndedError
        browser = _Browser(secret, row)
        if form is not None and not hmac.compare_digest(
            form.get("csrf", "").encode(), browser.csrf.encode()
        ):
            raise _EndedError
        return browser

    async def _signed_in(self, browser: _Browser, person: str) -> Response:
        if not await self._parts().requests.sign_in(browser.secret, person):
            raise _EndedError
        return self._see(WAYS)

    def _not_let_in(self, browser: _Browser, problem: NotLetIn, status: int) -> Response:
        log.warning("a sign-in with the provider failed: %s", problem)
        return self._ask(browser, str(problem), status)

    def _ask(self, browser: _Browser, problem: str = "", status: int = 200) -> Response:
        oidc = self._options.oidc
        return ways_page(
            browser.csrf,
            passwords=self._options.passwords,
            provider=oidc.label if oidc else None,
            problem=problem,
            status=status,
        )

    def _see(self, url: str) -> Response:
        return RedirectResponse(url, 303, HEADERS)

    def _callback(self, request: Request) -> str:
        return base_url(request, self._options.public_url) + CALLBACK

    def _is_secure(self, request: Request) -> bool:
        return base_url(request, self._options.public_url).startswith("https:")


def _cookie(*, secure: bool) -> str:
    """The cookie's name; with the prefix, browsers take it from this host only, over TLS."""
    return "__Host-plugway-sign-in" if secure else "plugway-sign-in"


def _page(
    answer: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """A page that is shown even if the request to sign in has ended, or the database does not
    respond."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except _EndedError:
            return code_page("", _AGAIN, 400)
        except StoreError as error:
            log.warning("the page cannot answer: %s", error)
            text = "The gateway's database does not respond. Try again in a minute."
            return last_page("Not now", text, 503)

    return endpoint
