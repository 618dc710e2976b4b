"""Answers that are errors though their status says otherwise: whole ones, and streams."""

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
"""Members by which servers say in an answer that it is none; the last is MiniMax's."""


def failure_at_the_start(
    error: bytes, headers: Headers, call: Call | None = None
) -> BackendRefused:
    """The failure that an error at the beginning of a stream stands for; the API's own reader of
    `call` knows its codes."""
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
    """The answer in a body; some servers put an error there, with a status of success.

    Raises:
        BackendRefused: it is an error.
        BackendProtocolError: it is no JSON object, or says nothing.
    """
    try:
        answer = parsed(body)
    except BackendProtocolError:
        kind = response.content_type or "no content type"
        told = BackendRefused(response.status, body).message[:300]
        record = f"it answered {response.status} with {kind}"
        raise BackendProtocolError(f"{record}: {told}", record=record) from None
    if not _answers(answer):
        if not answer.keys() & _ERRORS:
            raise BackendProtocolError("its response has no message")
        raise BackendRefused(status_in(body), body, headers=response.headers)
    return answer


def _answers(answer: Mapping[str, Any]) -> bool:
    """Whether a model speaks: some servers put an error beside an empty choice, or in a form of
    their own, such as MiniMax's `base_resp`."""
    choices = [as_object(choice) for choice in as_list(answer.get("choices"))]
    if not answer.get("error"):
        return bool(choices) or "output" in answer
    said = [as_object(choice.get("message")) for choice in choices]
    return "output" in answer or any(m.get("content") or m.get("tool_calls") for m in said)
