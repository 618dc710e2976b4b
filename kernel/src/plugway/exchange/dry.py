"""Exchanges without inference: `count_tokens`, and `explain`, which shows what would be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from plugway.exchange.dialect import record_translation
from plugway.exchange.failures import Failed, rejection_reply
from plugway.exchange.pipeline import Pipeline
from plugway.plugins.contain import Contained
from plugway.types.backend import Addresses, Translates
from plugway.types.exchange import Attempt, Exchange
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply
from plugway_wire.errors import BackendError, BackendTimeout, NoRoute, RequestRejected


async def count(pipeline: Pipeline, request: MessagesRequest, exchange: Exchange) -> Reply:
    """The reply to `count_tokens`, with the count of the first target."""
    request = await pipeline.hooks.transform_request(request, exchange)
    attempt = (await pipeline.plan(request, exchange))[0]
    prepared = await pipeline.prepare(request, attempt, exchange)
    exchange.served_by = attempt
    try:
        counted = await _counted(pipeline, prepared, attempt)
    except BackendError as error:
        error.backend = attempt.backend.name
        reply = await pipeline.error_reply(Failed(error, attempt), exchange)
    else:
        reply = _count_reply(counted, attempt, exchange)
    return await pipeline.hooks.transform_response(reply, exchange)


async def explain(
    pipeline: Pipeline, request: MessagesRequest, exchange: Exchange
) -> Mapping[str, Any]:
    """The reply to `explain`: what would be sent, or the name of the plugin that would answer."""
    request = await pipeline.hooks.transform_request(request, exchange)
    if (reply := await pipeline.hooks.answer(request, exchange)) is not None:
        await reply.close()
        answered = {"answered_by": exchange.receipt[-1].plugin, "attempts": ()}
        return {**exchange.summary(), **answered, "input_tokens": None, "upstream_request": None}
    attempts = await pipeline.plan(request, exchange)
    prepared = await pipeline.prepare(request, attempts[0], exchange)
    try:
        counted = await _counted(pipeline, prepared, attempts[0])
    except (BackendError, RequestRejected) as error:
        exchange.note("kernel", f"tokens were not counted: {error.record}", stage="count")
        counted = None
    if isinstance(counted, Reply):
        counted = counted.parsed.get("input_tokens")
    # Drop the entries that counting made.
    exchange.receipt[:] = [e for e in exchange.receipt if e.stage != "send"]
    record_translation(prepared, exchange, attempts[0])
    with Contained(attempts[0].backend.name, "send"):
        sent = _would_send(prepared, attempts[0])
    tried = [{"target": a.target, "zone": a.backend.zone, "model": a.model} for a in attempts]
    return {
        **exchange.summary(),
        "attempts": tried,
        "input_tokens": counted,
        "unchanged": not prepared.changed,
        "upstream_request": sent,
    }


async def _counted(
    pipeline: Pipeline, request: MessagesRequest, attempt: Attempt
) -> int | Reply | None:
    seconds = pipeline.limits.first_event_seconds
    try:
        async with asyncio.timeout(seconds):
            with Contained(attempt.backend.name, "count", TimeoutError):
                return await attempt.backend.count(request, attempt)
    except TimeoutError:
        late = f"`{attempt.target}` timed out counting tokens after {seconds:g} s"
        raise BackendTimeout(late) from None


def _count_reply(counted: int | Reply | None, attempt: Attempt, exchange: Exchange) -> Reply:
    """The count as a reply; without one, a 404 that a plugin may replace by an estimate."""
    if isinstance(counted, Reply):
        return counted
    if counted is not None:
        return Reply.message({"input_tokens": counted})
    cannot = f"`{attempt.target}` cannot count tokens"
    exchange.note("kernel", cannot, stage="count")
    return rejection_reply(NoRoute(cannot, retry=False, record=True), exchange)


def _would_send(request: MessagesRequest, attempt: Attempt) -> Mapping[str, Any]:
    """What the backend would send, as far as it reports that. Raises `RequestRejected`."""
    backend = attempt.backend
    url, headers = "", request.headers
    if isinstance(backend, Addresses):
        url, headers = backend.addressed(request, attempt)
    translates = isinstance(backend, Translates)
    body = backend.translated(request, attempt) if translates else request.body
    return {"url": url or None, "headers": dict(headers), "body": body}
