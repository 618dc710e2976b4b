"""The outcome of an exchange: token usage, read from the reply, and the log line."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final, get_args

from plugway.exchange.relay import Watched
from plugway.types.backend import Usage
from plugway.types.emitter import StopReason
from plugway.types.exchange import Exchange, Outcome
from plugway.types.json import as_object

log = logging.getLogger("plugway.exchange")

_REASONS: Final = frozenset(get_args(StopReason))
_COUNTS: Final = (
    *("input_tokens", "output_tokens", "cache_read_input_tokens"),
    "cache_creation_input_tokens",
)
"""In the order of `Usage`."""
_ABSURD: Final = 2**40
_BLANK: Final = vars(
    logging.makeLogRecord({"name": log.name, "levelno": logging.INFO, "levelname": "INFO"})
)


def usage_of(relay: Watched | None, message: Mapping[str, Any]) -> tuple[Usage, str | None]:
    """Usage and stop reason of a relayed stream, or of a whole message."""
    if relay is None or not (start := relay.data("message_start")):
        return parse_usage(as_object(message.get("usage"))), _reason(message.get("stop_reason"))
    end = relay.data("message_delta")
    first = as_object(as_object(start.get("message")).get("usage"))
    last = {k: v for k, v in as_object(end.get("usage")).items() if v is not None}
    reason = as_object(end.get("delta")).get("stop_reason")
    return parse_usage({**first, **last}), _reason(reason)


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """The counts of an Anthropic `usage` object; missing or absurd ones are 0."""
    found = map(usage.get, _COUNTS)
    return Usage(*[n if isinstance(n, int) and 0 <= n < _ABSURD else 0 for n in found])


def _reason(value: Any) -> str | None:
    """The stop reason if the API documents it; other texts of an upstream are not logged."""
    return value if isinstance(value, str) and value in _REASONS else None


def log_outcome(exchange: Exchange, outcome: Outcome) -> None:
    """Log one line for the exchange, without any of its content."""
    if not log.isEnabledFor(logging.INFO):
        return
    served = exchange.served_by.target if exchange.served_by else "-"
    # The record of `log.info(..., extra=...)`, at a quarter of its cost.
    now = time.time()
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__.update(
        _BLANK,
        created=now,
        msecs=now % 1 * 1000,
        msg=f"{exchange.endpoint} {served} {outcome.status} {outcome.kind}",
        request_id=exchange.id,
        caller=exchange.caller.name,
        session_id=exchange.session_id,
        model=exchange.model_asked,
        served_by=served,
        status=outcome.status,
        outcome=outcome.kind,
        ms=round(outcome.seconds * 1000, 1),
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        error=outcome.error[:300],
    )
    log.handle(record)
