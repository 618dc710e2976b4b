"""Translates errors of the Messages API into OpenAI's envelope. Pure functions.

Types and codes: OpenAI's guide "Error codes" and responses of its servers. `param` is recognized
by the wording of the message: of `_fields`, of the kernel (`max_tokens: Field required`), or of an
upstream that speaks OpenAI's API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import as_object

STATUSES: Final[Mapping[int, int]] = {529: 503}
"""Statuses unknown to OpenAI's clients, and their replacements."""


@dataclass(frozen=True, slots=True)
class OpenAIError:
    """An error in OpenAI's shape."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None

    def body(self) -> dict[str, Any]:
        """The error envelope."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


_BY_TYPE: Final[Mapping[str, tuple[str, str | None]]] = {
    "authentication_error": ("invalid_request_error", "invalid_api_key"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "permission_error": ("permission_error", None),
    "not_found_error": ("invalid_request_error", None),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded_error": ("server_error", "overloaded"),
    "timeout_error": ("server_error", "timeout"),
    "api_error": ("server_error", None),
}
"""OpenAI's `type` and `code` by the `type` of the Messages API."""

_TOO_LONG: Final = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")
_WITH_OUTPUT: Final = re.compile(
    r"input length and `max_tokens` exceed context limit: (\d+) \+ (\d+) > (\d+)"
)
_OVERFLOW: Final = re.compile(
    r"prompt is too long|exceed context limit|prompt_too_long|maximum context length"
    r"|exceeds the context window|input is too long for requested model",
    re.IGNORECASE,
)
_NAMED: Final = (
    (re.compile(r"Missing required parameter: '([^']+)'"), "missing_required_parameter"),
    (re.compile(r"Invalid type for '([^']+)'"), "invalid_type"),
    (re.compile(r"Unsupported parameter: '([^']+)'"), "unsupported_parameter"),
    (re.compile(r"Invalid (?:value for )?'([^']+)'"), "invalid_value"),
    (re.compile(r"(?:.*: )?([a-z_]+(?:\.[a-z_0-9]+)*): [A-Z]"), "invalid_value"),
)
_NO_MODEL: Final = re.compile(r"model: |\bmodel\b.*\b(?:not found|does not exist|not exist)\b")
_LOST: Final = re.compile(r"Previous response with id '")


def is_openai_error(body: bytes) -> bool:
    """Whether an upstream's body is OpenAI's error envelope."""
    try:
        return _is_openai(as_object(as_object(orjson.loads(body)).get("error")))
    except orjson.JSONDecodeError:
        return False


def _is_openai(error: Mapping[str, Any]) -> bool:
    return isinstance(error.get("message"), str) and ("code" in error or "param" in error)


def to_openai(error: Mapping[str, Any]) -> OpenAIError:
    """Translate the inner object of a Messages API error; an OpenAI error is kept unchanged."""
    if _is_openai(error):
        param, code = error.get("param"), error.get("code")
        return OpenAIError(str(error["message"]), str(error.get("type")), param, code)
    kind = str(error.get("type", "api_error"))
    message = str(error.get("message") or "The request failed.")
    if kind == "invalid_request_error":
        return _invalid(message)
    if kind == "not_found_error" and _NO_MODEL.search(message):
        return OpenAIError(message, "invalid_request_error", "model", "model_not_found")
    if kind == "authentication_error":
        message = message.replace("ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY")
    type_, code = _BY_TYPE.get(kind, ("server_error", None))
    return OpenAIError(message, type_, None, code)


def _invalid(message: str) -> OpenAIError:
    if _OVERFLOW.search(message):
        text = _overflow(message)
        return OpenAIError(text, "invalid_request_error", "messages", "context_length_exceeded")
    if _LOST.match(message):
        code = "previous_response_not_found"
        return OpenAIError(message, "invalid_request_error", "previous_response_id", code)
    for pattern, code in _NAMED:
        if found := pattern.match(message):
            return OpenAIError(message, "invalid_request_error", found[1], code)
    return OpenAIError(message, "invalid_request_error")


def _overflow(message: str) -> str:
    """Report an overflow in the wording that OpenAI's clients match, then the original message."""
    if "maximum context length" in message:
        return message
    if found := _TOO_LONG.search(message):
        asked, most = found[1], found[2]
        usage = f"However, your messages resulted in {asked} tokens."
    elif found := _WITH_OUTPUT.search(message):
        most, total = found[3], int(found[1]) + int(found[2])
        usage = (
            f"However, you requested {total} tokens ({found[1]} in the messages, {found[2]} in the "
            "completion)."
        )
    else:
        return f"This model's maximum context length is exceeded: {message}"
    return f"This model's maximum context length is {most} tokens. {usage} ({message})"
