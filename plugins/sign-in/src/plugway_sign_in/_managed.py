"""What Claude Code asks for with its token besides models: managed settings and telemetry."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from plugway import NoRoute, as_object
from plugway_sign_in._options import SignInOptions
from plugway_sign_in._parts import Parts
from plugway_sign_in._routes import MemberRoute

SETTINGS: Final = "/managed/settings"
SIGNALS: Final = ("/v1/metrics", "/v1/logs", "/v1/traces")


@dataclass(frozen=True, slots=True)
class Policy:
    """Managed settings as they are sent."""

    tag: str
    body: bytes


class Managed:
    """Sends the managed settings of the configuration, and takes telemetry."""

    def __init__(self, options: SignInOptions, parts: Callable[[], Parts]) -> None:
        self._parts = parts
        self._everybody = policy(options.settings) if options.settings is not None else None
        base = options.settings or {}
        self._groups = {
            group: policy(merged(base, more)) for group, more in options.group_settings.items()
        }

    def routes(self) -> list[BaseRoute]:
        """The routes."""
        return [
            MemberRoute(SETTINGS, self._settings, methods=["GET"]),
            *(MemberRoute(path, _discarded, methods=["POST"]) for path in SIGNALS),
        ]

    async def _settings(self, request: Request) -> Response:
        """The settings of the caller's group, or those for everybody. 404 says that there are none,
        which is not the same as empty ones."""
        found = self._everybody
        account = await self._parts().people.account(request.scope["plugway.caller"].name)
        if account is not None and account.group is not None:
            found = self._groups.get(account.group, found)
        if found is None:
            raise NoRoute("there are no managed settings", retry=False)
        headers = {"etag": f'"{found.tag}"', "cache-control": "private, no-cache"}
        asked = request.headers.get("if-none-match", "").split(",")
        # Not for `*`, with which Claude Desktop asks whether there are any.
        if found.tag in {tag.strip().removeprefix("W/").strip('"') for tag in asked}:
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers=headers, media_type="application/json")


def policy(settings: Mapping[str, Any]) -> Policy:
    """`settings` with the checksum that Claude Code computes: SHA-256 of their JSON with sorted keys
    and without whitespace."""
    tag = f"sha256:{hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
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
        old = result.get(key)
        result[key] = merged(old, as_object(value)) if _both_objects(old, value) else value
    return result


def _both_objects(old: object, new: object) -> bool:
    return isinstance(old, Mapping) and isinstance(new, Mapping)


async def _discarded(_: Request) -> Response:
    """Say that OTLP data was taken: anything else would be an error in the client's log each time.
    Nothing of it is kept."""
    return Response(b"{}", media_type="application/json")
