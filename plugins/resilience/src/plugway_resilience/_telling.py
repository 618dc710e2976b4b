"""What the client is told when every target failed: whether it shall ask again, and the remedy.

Which of several failures is told is the kernel's choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from plugway import BackendError, BackendRefused, as_object
from plugway_resilience._policy import Kind

_HEALS = frozenset({Kind.UNREACHABLE, Kind.SERVER, Kind.CONFLICT})


@dataclass(frozen=True, slots=True)
class Cause:
    """Why one target did not answer."""

    kind: Kind
    backend: str
    retry_after: float | None = None
    failure: BackendError | None = None
    """None for a target that was skipped."""
    callers_own: bool = False
    """The caller brought a credential, which the backend may have used."""


def tell(causes: Sequence[Cause], *, stop_after: float, wall: float) -> None:
    """Give the failures of one request the headers and the text that the client needs.

    It is told to stop (`x-should-retry: false`) only where no target can heal by itself, because
    it would otherwise give up what its next try gets from another target.
    """
    waits = [c.retry_after for c in causes if c.retry_after is not None]
    shortest = min(waits, default=None)
    hopeless = not any(_heals(cause, stop_after) for cause in causes)
    for cause in causes:
        if cause.failure is None:
            continue
        if cause.kind is Kind.RATE_LIMIT:
            _tell_rate_limit(cause.failure, shortest, hopeless, stop_after, wall)
        elif cause.kind is Kind.CREDENTIAL:
            _tell_credential(cause, cause.failure, hopeless)


def _heals(cause: Cause, stop_after: float) -> bool:
    if cause.kind is Kind.RATE_LIMIT:
        return cause.retry_after is None or cause.retry_after <= stop_after
    return cause.kind in _HEALS


def _tell_rate_limit(
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
    else:  # a client takes so long a wait for a reason to stop
        _set_header(failure, "retry-after", None)


def _tell_credential(cause: Cause, failure: BackendError, hopeless: bool) -> None:
    if not failure.permanent:  # else the backend itself has said which key it is
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
    """Append to the message, also inside the body that the upstream sent."""
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
