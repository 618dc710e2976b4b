"""Handles a client's request for embeddings: routed like any request, without retries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from plugway import (
    Attempt,
    BackendError,
    Caller,
    Gateway,
    InvalidRequest,
    MessagesRequest,
    NoRoute,
    RequestRejected,
)
from plugway_embeddings._values import MOST_INPUTS, Embedded, Embeds, Wanted
from plugway_wire.errors import client_status

_MOST_NAME = 256

Writer = Callable[[Embedded], Awaitable[bytes]]
"""Encodes the vectors for a client's API."""


async def answered(
    gateway: Gateway,
    request: Request,
    read: Callable[[bytes], tuple[Wanted, Writer]],
    refused: Callable[[RequestRejected], tuple[int, bytes]],
) -> Response:
    """Answer one request of a client's API.

    `read` parses a body and returns the request and an encoder, or raises `RequestRejected`;
    `refused` returns the status and body of an error.
    """
    lines = {"x-request-id": request.scope.get("plugway.request_id", "")}
    caller: Caller = request.scope["plugway.caller"]
    try:
        wanted, write = read(await request.body())
        found, attempt = await embedded(gateway, wanted, caller)
    except RequestRejected as error:
        status, failure = refused(error)
        return Response(failure, status, lines | dict(error.headers), "application/json")
    lines["plugway-receipt"] = attempt.exchange.receipt_header()
    return Response(await write(found), 200, lines, "application/json")


async def embedded(gateway: Gateway, wanted: Wanted, caller: Caller) -> tuple[Embedded, Attempt]:
    """Return the vectors, and the attempt that produced them.

    Only the first target is tried, because vectors of two models cannot be compared. Raises
    `RequestRejected` with a message for the client.
    """
    if not 0 < len(wanted.inputs) <= MOST_INPUTS or not all(wanted.inputs):
        message = f"input: expected 1 to {MOST_INPUTS} non-empty texts"
        raise InvalidRequest(message, retry=False, record=True)
    if not 0 < len(wanted.model) <= _MOST_NAME or not wanted.model.isprintable():
        raise InvalidRequest("model: a name is required", retry=False, record=True)
    # Planned without the client's texts: plugins decide by the model.
    turn = {"role": "user", "content": "embeddings"}
    request = MessagesRequest(orjson.dumps({"model": wanted.model, "messages": [turn]}))
    attempt = (await gateway.plan(request, caller=caller))[0]
    backend, target = attempt.backend, attempt.target
    if not isinstance(backend, Embeds):
        message = (
            f"model: `{target}` does not create embeddings; route the name to an embedding model"
        )
        raise NoRoute(message, retry=False)
    try:
        async with asyncio.timeout(attempt.first_event_seconds):
            found = await backend.embed(wanted, attempt)
    except TimeoutError:
        raise RequestRejected(f"`{target}` timed out creating embeddings", status=504) from None
    except BackendError as error:
        headers = {k: v for k, v in error.headers if k in ("retry-after", "x-should-retry")}
        status, message = client_status(error.status), f"`{backend.name}`: {error.message}"
        raise RequestRejected(
            message, status=status, headers=headers, record=error.record
        ) from error
    attempt.exchange.served_by = attempt
    return found, attempt
