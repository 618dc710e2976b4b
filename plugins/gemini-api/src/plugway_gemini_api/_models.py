"""The model list in Google's shape, and error responses for paths that are not served.

`Model` and `ListModelsResponse` in https://ai.google.dev/api/models. `/v1/models` is shared with
other APIs; only Google's clients, which send `x-goog-api-client`, get this list there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from plugway import Caller, Gateway, ModelInfo
from plugway_gemini_api._embeddings import Embeddings
from plugway_gemini_api._errors import envelope

PREFIX: Final = "anthropic/"
"""Marks an id that names its backend; the gateway accepts ids of existing backends without it."""
PAGE: Final = 50
MOST: Final = 1000
"""Default and maximum number of models per page (`models.list` in the reference)."""
SERVED: Final = ("generateContent", "countTokens")
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class CallerRoute(Route):
    """A route for all callers, including those with a restricted token."""

    limited_callers = True
    """It lists what its caller may use."""


class GoogleClientRoute(CallerRoute):
    """A route that does not match requests of other APIs' clients."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only requests with `x-goog-api-client`."""
        if any(name == b"x-goog-api-client" for name, _ in scope.get("headers", ())):
            return super().matches(scope)
        return Match.NONE, {}


class ModelRoutes:
    """Lists the served models."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[BaseRoute]:
        """Return the routes for each version of the API."""
        found: list[BaseRoute] = []
        embeddings = Embeddings(self._gateway).answer
        for root in ("v1beta", "v1alpha", "v1", "models"):
            for method in ("embedContent", "batchEmbedContents"):
                path = f"/{root}/{{model:path}}:{method}"
                found.append(CallerRoute(path, embeddings, methods=["POST"]))
        for version, kind in (
            ("v1beta", CallerRoute),
            ("v1alpha", CallerRoute),
            ("v1", GoogleClientRoute),
        ):
            found.append(kind(f"/{version}/models", self._list, methods=["GET"]))
            found.append(kind(f"/{version}/models/{{model:path}}", self._one, methods=["GET"]))
            found.append(kind(f"/{version}/{{path:path}}", _not_served, methods=METHODS))
        found.append(CallerRoute("/upload/{path:path}", _not_served, methods=METHODS))
        return found

    async def _list(self, request: Request) -> Response:
        size = _number(request, "pageSize", PAGE)
        at = _number(request, "pageToken", 0)
        if size is None or at is None:
            error = {"message": "`pageSize` and `pageToken` must be numbers."}
            return _json(envelope(400, error), request, status=400)
        listed = await self._gateway.models(_caller(request))
        end = at + min(size or PAGE, MOST)
        body: dict[str, Any] = {"models": [model_object(info) for info in listed[at:end]]}
        if end < len(listed):
            body["nextPageToken"] = str(end)
        return _json(body, request)

    async def _one(self, request: Request) -> Response:
        wanted: str = request.path_params["model"]
        for info in await self._gateway.models(_caller(request)):
            if wanted in {info.id, info.id.removeprefix(PREFIX)}:
                return _json(model_object(info), request)
        message = (
            f"models/{wanted[:200]} is not found; GET /v1beta/models lists the available models."
        )
        return _json(envelope(404, {"message": message}), request, status=404)


async def _not_served(request: Request) -> Response:
    asked = f"{request.method} {request.url.path[:200]}"
    message = (
        f"{asked} is not served here. Served are POST /v1beta/models/MODEL:METHOD with "
        "generateContent, streamGenerateContent, countTokens, embedContent and "
        "batchEmbedContents, and GET /v1beta/models."
    )
    return _json(envelope(404, {"message": message}), request, status=404)


def _number(request: Request, name: str, missing: int) -> int | None:
    """An integer of the query; None if invalid."""
    text = request.query_params.get(name, "")
    if not text:
        return missing
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _caller(request: Request) -> Caller:
    return request.scope["plugway.caller"]


def model_object(info: ModelInfo) -> dict[str, Any]:
    """A model in Google's shape, with its known limits in tokens."""
    item: dict[str, Any] = {
        "name": f"models/{info.id}",
        "displayName": info.display_name or info.id,
        "supportedGenerationMethods": list(SERVED),
    }
    if info.context_tokens:
        item["inputTokenLimit"] = info.context_tokens
    if info.max_output_tokens:
        item["outputTokenLimit"] = info.max_output_tokens
    if info.notice:
        item["description"] = info.notice
    if "thinking" in info.capabilities:
        item["thinking"] = True
    return item


def _json(body: Mapping[str, Any], request: Request, *, status: int = 200) -> Response:
    headers = {"x-request-id": request.scope.get("plugway.request_id", "")}
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
