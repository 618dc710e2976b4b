"""Turns failures into the error replies that clients get.

Plugins decide which failures are retried.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from plugway.types.errors import HookError
from plugway.types.exchange import Attempt, Exchange
from plugway.types.response import Reply
from plugway_log import redact
from plugway_wire.errors import (
    BackendError,
    BackendRefused,
    Headers,
    RequestRejected,
    client_status,
    error_body,
    error_type,
)
from plugway_wire.reason import code_in

log = logging.getLogger("plugway.exchange")


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure with the attempt that it comes from."""

    error: BackendError
    attempt: Attempt


def report_priority(failed: Failed) -> tuple[int, float]:
    """Sort key: of several failures the client gets the lowest, which it can act on best
    (`docs/errors.md`); of several rate limits the one that ends first."""
    error = failed.error
    if isinstance(error, BackendRefused):
        known = {429: 0, 401: 1, 402: 1, 403: 1, 404: 3, 501: 4}
        rank = known.get(error.status, 2 if error.status < 500 else 5)
    else:
        rank = 0 if error.status == 429 else 6
    return rank, math.inf if error.retry_after is None else error.retry_after


def failure_reply(error: BackendError, exchange: Exchange) -> Reply:
    """The default reply for a failure: an Anthropic upstream's response unchanged, anything else in
    the Anthropic error format."""
    headers = error.headers
    status = client_status(error.status)
    if isinstance(error, BackendRefused) and error.native:
        return Reply.whole(status, error.body, headers=headers)
    status = 529 if status == 503 and not error.permanent else status
    extra: Headers = (("content-type", "application/json"),)
    if error.permanent:
        extra += (("x-should-retry", "false"),)
    where = f"`{error.backend}`: " if error.backend else ""
    body = error_body(error_type(status), where + redact(error.message), exchange.id)
    return Reply.whole(status, body, headers=(*headers, *extra))


def rejection_reply(error: RequestRejected | HookError, exchange: Exchange) -> Reply:
    """The reply for a rejected request or a plugin's failure, in the Anthropic error format."""
    if isinstance(error, HookError):
        message = f"{error}. Details are in the gateway log."
        body = error_body("api_error", message, exchange.id)
        return Reply.whole(500, body, headers=(("content-type", "application/json"),))
    body = error_body(error.type, error.message, exchange.id)
    return Reply.whole(
        error.status, body, headers=(("content-type", "application/json"), *error.headers)
    )


def defect_reply(exchange: Exchange) -> Reply:
    """The reply for an unexpected exception, which is logged; call it in the `except` block."""
    log.exception("exchange %s failed", exchange.id, extra={"caller": exchange.caller.name})
    message = "Internal gateway error. Details are in the gateway log under this request id."
    body = error_body("api_error", message, exchange.id)
    return Reply.whole(500, body, headers=(("content-type", "application/json"),))


def is_retryable(reply: Reply) -> bool:
    """Whether a retry may help, so that the failure can be shown as a broken connection."""
    retry = reply.header("x-should-retry")
    return reply.status >= 429 and reply.status != 501 and retry != "false"


def log_error(exchange: Exchange, reply: Reply) -> str:
    """The log text for an error reply, whose own message may quote the request."""
    target = exchange.served_by.target if exchange.served_by else ""
    failed = [a for a in exchange.attempts if a.target == target and a.result != "answered"]
    if failed:
        return failed[-1].result
    code = code_in(reply.body or b"")
    return f"{reply.status} {code}" if code else str(reply.status)
