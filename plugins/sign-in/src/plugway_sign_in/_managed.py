"""What Claude Code asks for with its token besides models: managed settings and telemetry."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from plugway import Caller, NoRoute, as_object
from plugway_accounts import Member
from plugway_sign_in._options import SignInOptions
from plugway_sign_in._routes import MemberRoute, SignalRoute

SETTINGS: Final = "/managed/settings"
SIGNALS: Final = ("/v1/metrics", "/v1/logs", "/v1/traces")


@dataclass(frozen=True, slots=True)
class Policy:
    """Managed settings as they are sent."""

    tag: str
    body: bytes


class Managed:
    """Sends the managed settings of the configuration, and takes telemetry."""

    def __init__(self, options: SignInOptions) -> None:
        self._options = options

    def routes(self) -> list[BaseRoute]:
        """The routes."""
        return [
            MemberRoute(SETTINGS, self._settings, methods=["GET"]),
            *(SignalRoute(path, _discarded, methods=["POST"]) for path in SIGNALS),
        ]

    async def _settings(self, request: Request) -> Response:
        """The settings for everybody with those of the caller's groups. 404 says that there are
        none, which is not the same as empty ones."""
        caller: Caller = request.scope["plugway.caller"]
        found = self._policy(caller.groups if isinstance(caller, Member) else ())
        if found is None:
            raise NoRoute("there are no managed settings", retry=False)
        headers = {"etag": f'"{found.tag}"', "cache-control": "private, no-cache"}
        asked = request.headers.get("if-none-match", "").split(",")
        # Not for `*`, with which Claude Desktop asks whether there are any.
        if found.tag in {tag.strip().removeprefix("W/").strip('"') for tag in asked}:
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers=headers, media_type="application/json")

    def _policy(self, groups: Sequence[str]) -> Policy | None:
        settings = self._options.settings
        for group, more in self._options.group_settings.items():
            if group in groups:
                settings = merged(settings or {}, more)
        return policy(settings) if settings is not None else None


def policy(settings: Mapping[str, Any]) -> Policy:
    """`settings` with the checksum that Claude Code computes: the SHA-256 of their JSON with sorted
    keys and without whitespace."""
    tag = (
        f"sha256:{hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
    )
    body = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, tag)),
        "checksum": tag,
        "settings": settings,
    }
    return Policy(tag, orjson.dumps(body))


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what is in `more`; objects are merged, everything else is replaced."""
    result = dict(base)
    for key, value in more.items():
        old = base.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(as_object(old), as_object(value)) if both else value
    return result


async def _discarded(_: Request) -> Response:
    """Say that OTLP data was taken: anything else would be an error in the client's log each time.
    Nothing of it is kept."""
    return Response(b"{}", media_type="application/json")
