"""Translates errors of the Messages API into Google's envelope. Pure functions.

Statuses: https://ai.google.dev/gemini-api/docs/troubleshooting and `google.rpc.Code`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import as_object
from plugway_wire.json import loaded

STATUSES: Final[Mapping[int, int]] = {529: 503}
"""Statuses unknown to Google's clients, and their replacements."""
_NAMES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_BY_TYPE: Final[Mapping[str, int]] = {
    "authentication_error": 401,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "overloaded_error": 503,
    "permission_error": 403,
    "rate_limit_error": 429,
    "request_too_large": 413,
    "timeout_error": 504,
}
"""Status by the `type` of the Messages API, for errors within a stream."""
_TOO_LONG: Final = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_RETRY: Final = "type.googleapis.com/google.rpc.RetryInfo"
"""Where Google's clients look for the time to wait; Gemini CLI, for example, reads no header."""


def status_of(error: Mapping[str, Any]) -> int:
    """The HTTP status for an error within a stream."""
    return _BY_TYPE.get(str(error.get("type")), 500)


def is_google_error(body: bytes) -> bool:
    """Whether an upstream's body is Google's error envelope."""
    return _is_google(as_object(loaded(body).get("error")))


def _is_google(error: Mapping[str, Any]) -> bool:
    return isinstance(error.get("status"), str) and isinstance(error.get("message"), str)


def envelope(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """Google's envelope for the inner object of a Messages API error; Google's own is kept."""
    if _is_google(error):
        added = ("type", "retry_after")
        return {"error": {name: value for name, value in error.items() if name not in added}}
    message = str(error.get("message") or "The request failed.")
    if error.get("type") == "authentication_error":
        message = message.replace("ANTHROPIC_AUTH_TOKEN", "GEMINI_API_KEY")
    if found := _TOO_LONG.search(message):
        asked, most = found.groups()
        message = (
            f"The input token count ({asked}) exceeds the maximum number of tokens allowed "
            f"({most}). ({message})"
        )
    word = _NAMES.get(status) or ("INVALID_ARGUMENT" if status < 500 else "UNAVAILABLE")
    made: dict[str, Any] = {"code": status, "message": message, "status": word}
    if _SECONDS.fullmatch(wait := str(error.get("retry_after") or "")):
        made["details"] = [{"@type": _RETRY, "retryDelay": f"{math.ceil(float(wait))}s"}]
    return {"error": made}
