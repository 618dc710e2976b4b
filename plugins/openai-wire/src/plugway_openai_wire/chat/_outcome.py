"""Stop reason, usage, citations and failures of a Chat Completions reply.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import BackendRefused, StopReason, StreamEvent, as_list, as_object
from plugway_openai_wire.responses import citation_of
from plugway_translation import Totals, count
from plugway_wire.events import CUT_REASONS
from plugway_wire.json import TOO_DEEP, written

_REASONS: Final[Mapping[str, StopReason]] = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "model_context_window_exceeded",  # Mistral
    "content_filter": "refusal",
}
"""`finish_reason` (`types/chat/chat_completion.py` of the `openai` SDK) and values that servers
add. Any other value ends the turn."""

FAILED: Final[Mapping[str, int]] = {
    "abort": 503,  # vLLM, SGLang
    "error": 502,  # OpenRouter, Mistral
    "insufficient_system_resource": 503,  # DeepSeek
}
"""Finish reasons that report a failure, and the corresponding HTTP status."""

_STATUS: Final = {
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "overloaded_error": 503,
    "rate_limit_exceeded": 429,
    "server_error": 500,
}


def stop_reason_of(reason: str, *, calls: bool, full: bool) -> StopReason:
    """`stop_reason` for a `finish_reason`; `full`: the context window was exhausted."""
    found = _REASONS.get(reason, "end_turn")
    if found == "max_tokens" and full:
        return "model_context_window_exceeded"
    if found == "tool_use" and not calls:
        return "end_turn"
    return "tool_use" if found == "end_turn" and calls else found


def cuts_off(reason: str, *, stops: bool) -> bool:
    """Whether a reply with that `finish_reason` may have ended inside a call.

    Servers also send `stop` for the client's own stop sequences (`stops`: there are some).
    """
    found = _REASONS.get(reason, "end_turn")
    return found in CUT_REASONS or (stops and found == "end_turn")


def totals_in(usage: Mapping[str, Any]) -> Totals:
    """Read the counts of a `usage` (`types/completion_usage.py` of the `openai` SDK).

    DeepSeek reports cached tokens in a separate field.
    """
    prompt = as_object(usage.get("prompt_tokens_details"))
    answer = as_object(usage.get("completion_tokens_details"))
    cached = count(prompt.get("cached_tokens")) or count(usage.get("prompt_cache_hit_tokens"))
    return Totals(
        count(usage.get("prompt_tokens")),
        count(usage.get("completion_tokens")),
        cached,
        count(prompt.get("cache_write_tokens")),
        count(answer.get("reasoning_tokens")),
    )


def explained(ending: list[StreamEvent], why: str | None) -> list[StreamEvent]:
    """Add `stop_details` to the last events of a refusal (`types/refusal_stop_details.py` of the
    `anthropic` SDK)."""
    details = {"type": "refusal", "category": None, "explanation": why}
    return [
        StreamEvent(e.type, {**e.data, "delta": {**e.data["delta"], "stop_details": details}})
        if e.type == "message_delta"
        else e
        for e in ending
    ]


def sources_in(delta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Citations for the sources in a delta or message (`Annotation` of
    `types/chat/chat_completion_message.py`)."""
    notes = map(as_object, as_list(delta.get("annotations")))
    found = [{"type": note.get("type"), **as_object(note.get("url_citation"))} for note in notes]
    return [source for note in found if (source := citation_of(note, ""))]


def usage_in(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `usage` of a chunk or response, wherever the server puts it.

    Groq puts it in `x_groq` (its SDK, `types/chat/chat_completion_chunk.py`), Moonshot in the last
    streamed choice (its API reference, "Chat").
    """
    if usage := as_object(data.get("usage")):
        return usage
    places = [as_object(data["x_groq"])] if "x_groq" in data else []
    for item in as_list(data.get("choices"))[:1]:
        choice = as_object(item)
        places += [choice, as_object(choice.get("delta")), as_object(choice.get("message"))]
    for place in places:
        if "usage" in place and (usage := as_object(place["usage"])):
            return usage
    return {}


def failure_in(data: Mapping[str, Any]) -> BackendRefused | None:
    """The failure reported in a response with status 200, if any."""
    error: Any = data.get("error")
    if not error and data.get("object") == "error":  # vLLM
        error = {key: data[key] for key in ("message", "type", "code") if key in data}
    if not error:
        return None
    fields = as_object(error) or {"message": str(error)}
    return BackendRefused(_status(fields), written({"error": fields}, TOO_DEEP))


def _status(error: Mapping[str, Any]) -> int:
    for name in ("code", "type", "status"):
        value = error.get(name)
        if isinstance(value, str) and len(value) < 10 and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
        if isinstance(value, str) and value in _STATUS:
            return _STATUS[value]
    return 502
