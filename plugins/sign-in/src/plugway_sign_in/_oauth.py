"""The endpoints that Claude Code calls without a token: metadata, codes, tokens, revocation.

Measured with Claude Code 2.1.332, which sends no `client_id` and no `scope`, and described by
`claude gateway` of that version at `/protocol`; RFC 6749, 7009, 8414 and 8628. Authlib's server
parts do not fit: they are synchronous and need a `client_id`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from plugway_sign_in._addresses import base_url
from plugway_sign_in._options import SignInOptions
from plugway_sign_in._parts import Parts
from plugway_sign_in._requests import INTERVAL
from plugway_sign_in._routes import PublicRoute, peer
from plugway_sign_in._sessions import Issued
from plugway_store import Rate, StoreError

METADATA: Final = "/.well-known/oauth-authorization-server"
DEVICE: Final = "/oauth/device_authorization"
TOKEN: Final = "/oauth/token"
REVOKE: Final = "/oauth/revoke"
"""Claude Code uses the first three even without metadata."""
PAGE: Final = "/device"
"""Where browsers answer."""
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_BEGUN: Final = Rate(60, 60)
"""Requests to sign in of one address; each takes a row in the database."""

_FORM_BYTES: Final = 64 * 1024

_Form = Mapping[str, str]


class OAuth:
    """Answers clients."""

    def __init__(self, options: SignInOptions, parts: Callable[[], Parts]) -> None:
        self._options = options
        self._parts = parts

    def routes(self) -> list[BaseRoute]:
        """The routes."""
        return [
            PublicRoute(METADATA, self._metadata, methods=["GET"]),
            PublicRoute(DEVICE, _form(self._begin), methods=["POST"]),
            PublicRoute(TOKEN, _form(self._token), methods=["POST"]),
            PublicRoute(REVOKE, _form(self._revoke), methods=["POST"]),
        ]

    async def _metadata(self, request: Request) -> Response:
        base = base_url(request, self._options.public_url)
        body = {
            "issuer": base,
            "device_authorization_endpoint": base + DEVICE,
            "token_endpoint": base + TOKEN,
            "revocation_endpoint": base + REVOKE,
            "grant_types_supported": [DEVICE_GRANT, "refresh_token"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
        }
        return _json(body)

    async def _begin(self, request: Request, form: _Form) -> Response:
        """RFC 8628, 3.1."""
        parts = self._parts()
        if not await parts.store.counters.take(_BEGUN, "sign-in", "begin", peer(request)):
            return _error("slow_down", "too many requests to sign in", 429, {"retry-after": "60"})
        begun = await parts.requests.begin(form.get("surface", ""))
        page = base_url(request, self._options.public_url) + PAGE
        body: dict[str, Any] = {
            "device_code": begun.device_code,
            "user_code": begun.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={begun.user_code}",
            "expires_in": begun.expires_in,
            "interval": INTERVAL,
        }
        if self._options.notice:
            body["login_notice"] = self._options.notice
        return _json(body)

    async def _token(self, request: Request, form: _Form) -> Response:
        grant = form.get("grant_type", "")
        if grant == DEVICE_GRANT:
            if not form.get("device_code"):
                return _error("invalid_request", "`device_code` is missing")
            polled = await self._parts().requests.poll(form["device_code"])
            if isinstance(polled, str):
                return _error(polled, "")
            return await self._issued(polled) or _error("access_denied", "")
        if grant == "refresh_token":
            if not form.get("refresh_token"):
                return _error("invalid_request", "`refresh_token` is missing")
            renewed = await self._parts().sessions.renew(form["refresh_token"])
            issued = await self._issued(renewed) if renewed else None
            # On a 401 Claude Code asks its user to sign in again.
            ended = "this sign-in has ended: sign in again"
            return issued or _error("invalid_grant", ended, 401)
        return _error("unsupported_grant_type", f"use `{DEVICE_GRANT}` or `refresh_token`")

    async def _issued(self, issued: Issued) -> Response | None:
        """The tokens, if their person still may sign in."""
        parts = self._parts()
        if await parts.people.member(issued.person) is None:
            await parts.sessions.revoke_person(issued.person)
            return None
        body = {
            "access_token": issued.access,
            "token_type": "Bearer",
            "expires_in": issued.expires_in,
            "refresh_token": issued.refresh,
            "email": await parts.people.label(issued.person),
        }
        return _json(body)

    async def _revoke(self, request: Request, form: _Form) -> Response:
        """RFC 7009: an unknown token is no error."""
        if not form.get("token"):
            return _error("invalid_request", "`token` is missing")
        await self._parts().sessions.revoke(form["token"])
        return _json({})


def _form(
    answer: Callable[[Request, _Form], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that reads a form, and reports in the format of RFC 6749, 5.2."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request, await read_form(request))
        except StoreError:
            later = {"retry-after": "5"}
            return _error("temporarily_unavailable", "the database does not respond", 503, later)

    return endpoint


async def read_form(request: Request) -> _Form:
    """The fields of a form, the last of each name; of a form that is too large, none."""
    body = await request.body()
    if len(body) > _FORM_BYTES:
        return {}
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _error(
    error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
) -> Response:
    body = {"error": error} | ({"error_description": description} if description else {})
    return _json(body, status, headers or {})


def _json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    own = {"cache-control": "no-store", "pragma": "no-cache", **(headers or {})}
    return Response(orjson.dumps(body), status, own, media_type="application/json")
