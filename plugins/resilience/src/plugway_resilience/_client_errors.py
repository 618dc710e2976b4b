"""Prepare the errors of a request whose targets all failed: `x-should-retry`, and the fix.

The kernel chooses which of several errors the client gets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from plugway import BackendError, BackendRefused, as_object
from plugway_resilience._policy import Kind

_RETRYABLE = frozenset({Kind.UNREACHABLE, Kind.SERVER, Kind.CONFLICT})


@dataclass(frozen=True, slots=True)
class Cause:
    """Why one target failed."""

    kind: Kind
    backend: str
    retry_after: float | None = None
    failure: BackendError | None = None
    """The error; None for a target that was skipped."""
    callers_own: bool = False
    """Whether the caller sent a credential that the backend may have used."""


def prepare_errors(causes: Sequence[Cause], *, stop_after: float, wall: float) -> None:
    """Add the headers and the text that the client needs to the errors of one request.

    `x-should-retry: false` is set only if no target can recover by itself; otherwise the client
    would give up although its next try may be served by another target.
    """
    waits = [c.retry_after for c in causes if c.retry_after is not None]
    shortest = min(waits, default=None)
    hopeless = not any(_is_retryable(cause, stop_after) for cause in causes)
    for cause in causes:
        if cause.failure is None:
            continue
        if cause.kind is Kind.RATE_LIMIT:
            _add_rate_limit(cause.failure, shortest, hopeless, stop_after, wall)
        elif cause.kind is Kind.CREDENTIAL:
            _add_credential(cause, cause.failure, hopeless)


def _is_retryable(cause: Cause, stop_after: float) -> bool:
    if cause.kind is Kind.RATE_LIMIT:
        return cause.retry_after is None or cause.retry_after <= stop_after
    return cause.kind in _RETRYABLE


def _add_rate_limit(
    failure: BackendError, shortest: float | None, hopeless: bool, stop_after: float, wall: float
) -> None:
    if shortest is None:
        return
    if shortest <= stop_after:
        _set_header(failure, "retry-after", str(math.ceil(shortest)))
    elif hopeless:
        _set_header(failure, "retry-after", str(math.ceil(shortest)))
        _set_header(failure, "x-should-retry", "false")
        _add_text(failure, f"the limit ends {_moment(shortest, wall)}")
    else:  # clients give up on a `retry-after` that long
        _set_header(failure, "retry-after", None)


def _add_credential(cause: Cause, failure: BackendError, hopeless: bool) -> None:
    if not failure.permanent:  # otherwise the backend has already named the key
        _add_text(failure, _credential_text(cause, failure))
    failure.permanent = hopeless
    if hopeless:
        _set_header(failure, "x-should-retry", "false")


def _moment(seconds: float, wall: float) -> str:
    minutes = math.ceil(seconds / 60)
    length = f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
    moment = datetime.fromtimestamp(wall + min(seconds, 10**9)).astimezone()
    return f"in {length}, at {moment:%H:%M}" + (f" on {moment:%d %B}" if minutes > 720 else "")


def _credential_text(cause: Cause, failure: BackendError) -> str:
    whose = f"the credential of the backend `{cause.backend}`"
    if cause.callers_own:
        whose = f"{whose} (its own, or the one that the client sent)"
    match failure.status:
        case 402:
            return f"the account behind {whose} has no credit for this"
        case 403:
            return f"{whose} is not allowed to do this"
        case _:
            return f"{whose} was refused: fix its key in Plugway's configuration"


def _set_header(failure: BackendError, name: str, value: str | None) -> None:
    kept = tuple(line for line in failure.headers if line[0] != name)
    failure.headers = kept if value is None else (*kept, (name, value))


def _add_text(failure: BackendError, text: str) -> None:
    """Append to the message, and to the body that the upstream sent."""
    failure.message = f"{failure.message} ({text})"
    if not isinstance(failure, BackendRefused):
        return
    try:
        body = as_object(orjson.loads(failure.body))
    except orjson.JSONDecodeError:
        body = {}
    holder, name = (body, "error") if isinstance(body.get("error"), str) else (None, "message")
    holder = holder or as_object(body.get("error"))
    if isinstance(holder.get(name), str):
        holder[name] = f"{holder[name]} ({text})"
        failure.body = orjson.dumps(body)
    else:
        failure.native = False
