"""Token counts, read from what the client was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway._backend import Usage
from plugway._json import as_object
from plugway._stream import Watched


def usage_of(relay: Watched | None, message: Mapping[str, Any]) -> tuple[Usage, str | None]:
    """Usage and stop reason of a relayed stream, or of a whole message."""
    if relay is None or not (start := relay.data("message_start")):
        return parse_usage(as_object(message.get("usage"))), _text(message.get("stop_reason"))
    end = relay.data("message_delta")
    first = as_object(as_object(start.get("message")).get("usage"))
    last = {k: v for k, v in as_object(end.get("usage")).items() if v is not None}
    reason = as_object(end.get("delta")).get("stop_reason")
    return parse_usage({**first, **last}), _text(reason)


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """The counts of an Anthropic `usage` object; what is missing or absurd counts as 0."""
    return Usage(
        _count(usage.get("input_tokens")),
        _count(usage.get("output_tokens")),
        _count(usage.get("cache_read_input_tokens")),
        _count(usage.get("cache_creation_input_tokens")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**40 else 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
