"""Failures reported inside a response, with the HTTP status they would have had at its start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import BackendRefused, as_object
from plugway_wire.json import TOO_DEEP, written

_STATUS: Final = {
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "usage_limit_reached": 429,
    "usage_not_included": 403,
    "vector_store_timeout": 504,
}
_OF_THE_REQUEST: Final = ("invalid_", "image_", "unsupported_", "failed_to_", "empty_image")
_POLICY: Final = ("bio_policy", "cyber_policy", "misalignment_policy_violation")
_WAIT: Final = re.compile(r"try again in (\d{1,6}(?:\.\d{1,9})?) ?(ms|s)\b", re.IGNORECASE)


def failure_in(data: Mapping[str, Any]) -> BackendRefused:
    """The failure reported by an `error` or `response.failed` event.

    Its body is the error in the API's envelope, so that it is read like any error response.
    """
    error = as_object(as_object(data.get("response")).get("error")) or as_object(data.get("error"))
    error = error or {key: data[key] for key in ("code", "message", "param") if data.get(key)}
    code = str(error.get("code") or error.get("type") or "")
    message = str(error.get("message") or "")
    wait = _WAIT.search(message)
    return BackendRefused(
        status_of(code, data.get("status")),
        written({"error": error or {"message": "the response failed without a reason"}}, TOO_DEEP),
        retry_after=float(wait[1]) / (1000 if wait[2].lower() == "ms" else 1) if wait else None,
    )


def status_of(code: str, given: Any = None) -> int:
    """The HTTP status for an error code."""
    if code in _STATUS:
        return _STATUS[code]
    if code in _POLICY:
        return 403
    if code.startswith(_OF_THE_REQUEST):
        return 400
    return given if isinstance(given, int) and 400 <= given < 600 else 502
