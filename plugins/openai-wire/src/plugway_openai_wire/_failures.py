"""Errors in responses with a status of success, complete or streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import (
    BackendProtocolError,
    BackendRefused,
    Headers,
    UpstreamResponse,
    as_list,
    as_object,
)
from plugway_openai_wire._api import Call
from plugway_openai_wire._events import parsed
from plugway_upstream_errors import retry_after, status_in

_ERRORS: Final = frozenset(("error", "errors", "detail", "message", "msg", "code", "base_resp"))
"""Fields that report an error in a response with status 200; `base_resp` is MiniMax's."""


def failure_at_the_start(
    error: bytes, headers: Headers, call: Call | None = None
) -> BackendRefused:
    """The failure for an error at the start of a stream; the API's reader of `call` knows its
    codes."""
    if call is not None:
        try:
            call.reader().feed(parsed(error))
        except BackendRefused as failure:
            return failure
        except BackendProtocolError:
            pass  # it is text
    wait = retry_after(headers)
    return BackendRefused(status_in(error), error, headers=headers, retry_after=wait)


def answer_in(response: UpstreamResponse, body: bytes) -> dict[str, Any]:
    """Parse a response body; some servers report an error with status 200.

    Raises:
        BackendRefused: the body is an error.
        BackendProtocolError: the body is not a JSON object, or contains no message.
    """
    try:
        answer = parsed(body)
    except BackendProtocolError:
        kind = response.content_type or "no content type"
        text = BackendRefused(response.status, body).message[:300]
        record = f"it answered {response.status} with {kind}"
        raise BackendProtocolError(f"{record}: {text}", record=record) from None
    if not _has_message(answer):
        if not answer.keys() & _ERRORS:
            raise BackendProtocolError("its response has no message")
        raise BackendRefused(status_in(body), body, headers=response.headers)
    return answer


def _has_message(answer: Mapping[str, Any]) -> bool:
    """Whether the response has content: some servers put an error beside an empty choice, or in a
    proprietary field such as MiniMax's `base_resp`."""
    choices = [as_object(choice) for choice in as_list(answer.get("choices"))]
    if not answer.get("error"):
        return bool(choices) or "output" in answer
    said = [as_object(choice.get("message")) for choice in choices]
    return "output" in answer or any(m.get("content") or m.get("tool_calls") for m in said)
