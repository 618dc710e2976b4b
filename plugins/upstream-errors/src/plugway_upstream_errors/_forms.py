"""Distinguishes errors, replies and progress reports in the forms that servers use.

Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import as_object

MAX_OBJECT: Final = 2**18
"""Bytes up to which an object is read."""
_EVENTS: Final = frozenset(
    (
        *("message_start", "message_delta", "message_stop", "ping"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    )
)
"""Events of the Messages API; one of them has a field `message`."""
_ANSWERS: Final = frozenset(("choices", "content", "output", "delta", "response"))
_TEXTS: Final = ("message", "msg", "detail")
_CODES: Final = ("code", "status", "status_code", "error_code")
_STATES: Final = frozenset(("status", "state", "event", "kind", "level", "type", "object"))
_PASSED: Final = frozenset(("success", "ok"))
_BESIDE: Final = frozenset(
    (
        *(*_TEXTS, "code", "error_code", "status_code", "param", "loc", "id", "request_id"),
        *("requestId", "trace_id", "timestamp", "path", "details", "documentation_url"),
    )
)
"""Fields beside a text that do not make it a progress report."""
_FAILED: Final = re.compile(
    r"error|exception|fail|invalid|exceeded|exhausted|denied|refused|reject|unauthori[sz]ed"
    r"|forbidden|not_?found|overload|unavailable|time(?:d_?)?_?out|insufficient|unsupported|abort",
    re.IGNORECASE,
)
_FINE: Final = re.compile(
    r"\W*(?:ok|okay|none|success\w*|succeeded|queued|pending|processing|in_progress|loading"
    r"|running|start\w*|wait\w*|warm\w*|ready|info)\W*",
    re.IGNORECASE,
)
_STATUSES: Final[Mapping[str, int]] = {
    "api_error": 500,
    "authentication_error": 401,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "request_too_large": 413,
    "timeout_error": 504,
}


def status_in(body: bytes, otherwise: int = 502) -> int:
    """The HTTP status of an error inside a response; `otherwise` if it has none."""
    found = parsed_object(body) or {}
    error = as_object(found.get("error")) or found
    for place in (error, found):
        for name in _CODES:
            if 400 <= (code := _number(place.get(name))) < 600:
                return code
    return _STATUSES.get(str(error.get("type")), otherwise)


def is_error(value: Mapping[str, Any]) -> bool:
    """Whether an object is an error in one of the forms that servers use.

    A text is an error if a code or state beside it indicates one, or if there is nothing else;
    beside other fields it reports progress.
    """
    if value.get("type") == "error" or value.get("object") == "error":
        return True
    if _is_event(value) or value.get("choices") or "content" in value or "output" in value:
        return False
    if value.get("error") or value.get("errors"):
        return True
    if any(400 <= _number(value.get(name)) < 600 for name in _CODES):
        return True
    if _number(as_object(value.get("base_resp")).get("status_code")) > 0:  # MiniMax
        return True
    text = _text(value)
    return bool(text) and not _FINE.fullmatch(text) and _indicates_failure(value)


def reports_progress(value: Mapping[str, Any]) -> bool:
    """Whether an object other than an error only reports progress: no reply has started."""
    if _is_event(value) or value.keys() & _ANSWERS:
        return False
    return bool(_text(value)) or isinstance(value.get("status") or value.get("state"), str)


def parsed_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in `data`; None if there is none."""
    if not data.lstrip().startswith(b"{") or len(data) > MAX_OBJECT:
        return None
    try:
        return as_object(orjson.loads(data))
    except orjson.JSONDecodeError:
        return None


def _is_event(value: Mapping[str, Any]) -> bool:
    kind = value.get("type")
    return isinstance(kind, str) and (kind in _EVENTS or kind.startswith("response."))


def _indicates_failure(value: Mapping[str, Any]) -> bool:
    """Whether the fields beside a text indicate a failure."""
    if any(value.get(name) is False for name in (*_PASSED, "status")):
        return True
    filled = {name: item for name, item in value.items() if item not in (None, "", [], {})}
    if any(isinstance(filled.get(name), str) and _FAILED.search(filled[name]) for name in _STATES):
        return True
    if any(
        _is_fine(filled[name]) for name in ("code", "error_code", "status_code") if name in filled
    ):
        return False
    return filled.keys() <= _BESIDE


def _is_fine(code: object) -> bool:
    """Whether a code means success or work in progress."""
    if isinstance(code, str) and not code.isdigit():
        return not code or _FINE.fullmatch(code) is not None
    return _number(code) == 0 or 100 <= _number(code) < 400


def _text(value: Mapping[str, Any]) -> str:
    """The text of an error or a report; pydantic's `detail` is a list of objects."""
    for name in _TEXTS:
        text = value.get(name)
        if text and (isinstance(text, str) or name == "detail"):
            return str(text)
    return ""


def _number(code: object) -> int:
    """A code that is a number, or digits; -1 if it is neither."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < 10:
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else -1
