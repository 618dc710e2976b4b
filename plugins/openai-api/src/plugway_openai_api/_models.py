"""The model list in OpenAI's shape, and error responses for paths that are not served.

Clients of the Messages API use the same paths and send `anthropic-version`; these routes do not
match their requests, so the kernel answers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from plugway import Caller, Gateway, ModelInfo
from plugway_openai_api._embeddings import Embeddings
from plugway_openai_api._errors import OpenAIError

PREFIX: Final = "anthropic/"
"""Marks an id that names its backend. If the backend is gone, such an id is not routed elsewhere.
The gateway also accepts ids of existing backends without the prefix."""

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
UNSERVED: Final = frozenset(
    (
        "assistants",
        "audio",
        "batches",
        "chat",
        "completions",
        "containers",
        "conversations",
        "embeddings",
        "evals",
        "files",
        "fine_tuning",
        "images",
        "moderations",
        "realtime",
        "responses",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    )
)
"""First path segments of OpenAI's API (`resources` of the `openai` SDK). The routes that are served
match before these."""


class OpenAIClientRoute(Route):
    """A route that does not match requests of Messages API clients."""

    limited_callers = True
    """It lists what its caller may use."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only requests without `anthropic-version`."""
        if any(name == b"anthropic-version" for name, _ in scope.get("headers", ())):
            return Match.NONE, {}
        return super().matches(scope)


class Unserved(OpenAIClientRoute):
    """Every other path of OpenAI's API; answered with an error in OpenAI's envelope."""

    last = True
    """Other plugins serve some of them, wherever they are listed."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only paths of OpenAI's API."""
        first = scope["path"].removeprefix("/v1").lstrip("/").partition("/")[0]
        return super().matches(scope) if first in UNSERVED else (Match.NONE, {})


class KeptResponse(OpenAIClientRoute):
    """A stored response: `GET` or `DELETE` by its id, or a path below it (`resources/responses` of
    the `openai` SDK)."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Do not match `compact` and `input_tokens`, which look like ids."""
        match, child = super().matches(scope)
        asked = child.get("path_params", {}).get("response_id")
        return (Match.NONE, {}) if asked in ("compact", "input_tokens") else (match, child)


class Handshake(OpenAIClientRoute):
    """A WebSocket handshake: a GET with a key (RFC 6455, 4.1)."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only a GET with that key."""
        if not any(name == b"sec-websocket-key" for name, _ in scope.get("headers", ())):
            return Match.NONE, {}
        return super().matches(scope)


class ModelRoutes:
    """Lists the served models."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[BaseRoute]:
        """Return the routes, with and without `/v1`."""
        found: list[BaseRoute] = []
        for root in ("/v1", ""):
            found.append(OpenAIClientRoute(f"{root}/models", self._list, methods=["GET"]))
            path = f"{root}/models/{{model_id:path}}"
            found.append(OpenAIClientRoute(path, self._one, methods=["GET"]))
            for path in ("{response_id}", "{response_id}/{more:path}"):
                path = f"{root}/responses/{path}"
                found.append(KeptResponse(path, _not_kept, methods=["GET", "POST", "DELETE"]))
            embeddings = Embeddings(self._gateway).answer
            found.append(OpenAIClientRoute(f"{root}/embeddings", embeddings, methods=["POST"]))
            found.append(Handshake(f"{root}/responses", _no_websocket, methods=["GET"]))
        found.append(Unserved("/{path:path}", _not_served, methods=METHODS))
        return found

    async def _list(self, request: Request) -> Response:
        listed = [model_object(info) for info in await self._gateway.models(_caller(request))]
        return _json({"object": "list", "data": listed}, request)

    async def _one(self, request: Request) -> Response:
        wanted: str = request.path_params["model_id"]
        for info in await self._gateway.models(_caller(request)):
            if wanted in {info.id, info.id.removeprefix(PREFIX)}:
                return _json(model_object(info), request)
        message = f"The model '{wanted[:200]}' does not exist or you do not have access to it."
        error = OpenAIError(message, "invalid_request_error", "model", "model_not_found")
        return _json(error.body(), request, status=404)


async def _not_kept(request: Request) -> Response:
    wanted: str = request.path_params["response_id"]
    message = (
        f"Response '{wanted[:200]}' not found: no responses are kept here. Send the whole "
        "conversation as `input` of POST /v1/responses."
    )
    return _json(OpenAIError(message, "invalid_request_error").body(), request, status=404)


def _caller(request: Request) -> Caller:
    return request.scope["plugway.caller"]


async def _not_served(request: Request) -> Response:
    asked = f"{request.method} {request.url.path[:200]}"
    message = (
        f"Unknown request URL: {asked} is not served here. Served are POST /v1/chat/completions, "
        "POST /v1/responses, POST /v1/embeddings and GET /v1/models."
    )
    error = OpenAIError(message, "invalid_request_error", code="unknown_url")
    return _json(error.body(), request, status=404)


async def _no_websocket(request: Request) -> Response:
    """Reject with 426, so that Codex switches to POST at once; after a 404 it retries for six
    seconds (0.171)."""
    message = "WebSocket transport is not supported. Send POST /v1/responses with `stream: true`."
    error = OpenAIError(message, "invalid_request_error", code="websocket_not_supported")
    return _json(error.body(), request, status=426, upgrade="HTTP/1.1")


def model_object(info: ModelInfo) -> dict[str, Any]:
    """A model in OpenAI's shape (`types/model.py` of the `openai` SDK).

    The context window and the output limit, in tokens, use the names of OpenRouter and vLLM. They
    are omitted if unknown.
    """
    item: dict[str, Any] = {
        "id": info.id,
        "object": "model",
        "created": _seconds(info.created_at),
        "owned_by": info.id.removeprefix(PREFIX).partition("/")[0],
    }
    if info.context_tokens:
        item |= {"context_length": info.context_tokens, "max_model_len": info.context_tokens}
    if info.max_output_tokens:
        item["max_output_tokens"] = info.max_output_tokens
    return item


def _seconds(created_at: str) -> int:
    try:
        return max(0, int(datetime.fromisoformat(created_at).timestamp()))
    except ValueError:
        return 0


def _json(
    body: Mapping[str, Any], request: Request, *, status: int = 200, **headers: str
) -> Response:
    headers["x-request-id"] = request.scope.get("plugway.request_id", "")
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
