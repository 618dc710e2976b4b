"""The model list in OpenAI's shape, and answers for what is not kept or served here.

Clients of the Messages API ask at the same paths; they send `anthropic-version`, and these routes
are then not there for them, so that the kernel answers.
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
from plugway_openai_api._errors import Told

PREFIX: Final = "anthropic/"
"""Marks an id that names its backend: should that be gone, such an id goes nowhere else. The
gateway takes ids of backends that exist without it too."""

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
"""First parts of the paths of OpenAI's API (`resources` of the `openai` SDK); what is served of it
is found before this."""


class ForOpenAIClients(Route):
    """A route that clients of the Messages API do not see."""

    limited_callers = True
    """It lists what its caller may use."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Nothing for a request with `anthropic-version`."""
        if any(name == b"anthropic-version" for name, _ in scope.get("headers", ())):
            return Match.NONE, {}
        return super().matches(scope)


class Unserved(ForOpenAIClients):
    """Everything of OpenAI's API that is not served: its clients are told in its envelope."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Nothing outside of OpenAI's API."""
        first = scope["path"].removeprefix("/v1").lstrip("/").partition("/")[0]
        return super().matches(scope) if first in UNSERVED else (Match.NONE, {})


class KeptResponse(ForOpenAIClients):
    """A response that a client takes for kept: `GET` or `DELETE` by its id, or what hangs from it
    (`resources/responses` of the `openai` SDK)."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Nothing for `compact` and `input_tokens`, which stand where an id does."""
        match, child = super().matches(scope)
        asked = child.get("path_params", {}).get("response_id")
        return (Match.NONE, {}) if asked in ("compact", "input_tokens") else (match, child)


class Handshake(ForOpenAIClients):
    """A WebSocket's handshake, which is a GET with a key (RFC 6455, 4.1)."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Nothing for a GET without that key."""
        if not any(name == b"sec-websocket-key" for name, _ in scope.get("headers", ())):
            return Match.NONE, {}
        return super().matches(scope)


class ModelRoutes:
    """Lists what the gateway serves."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[BaseRoute]:
        """The routes, with and without `/v1`."""
        found: list[BaseRoute] = []
        for root in ("/v1", ""):
            found.append(ForOpenAIClients(f"{root}/models", self._list, methods=["GET"]))
            path = f"{root}/models/{{model_id:path}}"
            found.append(ForOpenAIClients(path, self._one, methods=["GET"]))
            for path in ("{response_id}", "{response_id}/{more:path}"):
                path = f"{root}/responses/{path}"
                found.append(KeptResponse(path, _not_kept, methods=["GET", "POST", "DELETE"]))
            embeddings = Embeddings(self._gateway).answer
            found.append(ForOpenAIClients(f"{root}/embeddings", embeddings, methods=["POST"]))
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
        told = Told(message, "invalid_request_error", "model", "model_not_found")
        return _json(told.body(), request, status=404)


async def _not_kept(request: Request) -> Response:
    wanted: str = request.path_params["response_id"]
    message = (
        f"Response '{wanted[:200]}' not found: no responses are kept here. Send the whole "
        "conversation as `input` of POST /v1/responses."
    )
    return _json(Told(message, "invalid_request_error").body(), request, status=404)


def _caller(request: Request) -> Caller:
    return request.scope["plugway.caller"]


async def _not_served(request: Request) -> Response:
    asked = f"{request.method} {request.url.path[:200]}"
    message = (
        f"Unknown request URL: {asked} is not served here. Served are POST /v1/chat/completions, "
        "POST /v1/responses, POST /v1/embeddings and GET /v1/models."
    )
    told = Told(message, "invalid_request_error", code="unknown_url")
    return _json(told.body(), request, status=404)


async def _no_websocket(request: Request) -> Response:
    """Refuse with 426, after which Codex sends POST at once; after a 404 it first tries again
    for six seconds (0.171)."""
    message = "WebSocket transport is not supported. Send POST /v1/responses with `stream: true`."
    told = Told(message, "invalid_request_error", code="websocket_not_supported")
    return _json(told.body(), request, status=426, upgrade="HTTP/1.1")


def model_object(info: ModelInfo) -> dict[str, Any]:
    """A model in OpenAI's shape (`types/model.py` of the `openai` SDK).

    The window and the output limit in tokens are there under the names of OpenRouter and vLLM,
    where they are known.
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
