"""Encodes Messages API replies as Gemini's, complete or streamed. Pure functions.

`GenerateContentResponse` in https://ai.google.dev/api/generate-content. With `alt=sse` a stream
consists of events, otherwise of one JSON array that is written piece by piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import StreamEvent, as_object, replay
from plugway_gemini_api._errors import envelope, status_of
from plugway_gemini_api._parts import Part, Parts, joined
from plugway_gemini_api._sources import Sources
from plugway_translation import count, totals_of

FINISH: Final[Mapping[str, str]] = {
    "end_turn": "STOP",
    "stop_sequence": "STOP",
    "pause_turn": "STOP",
    "tool_use": "STOP",
    "max_tokens": "MAX_TOKENS",
    "model_context_window_exceeded": "MAX_TOKENS",
    "refusal": "SAFETY",
}
"""`finishReason` by `stop_reason`."""


class ContentEncoder:
    """Encodes one reply for `generateContent` and `streamGenerateContent`."""

    def __init__(self, parts: Parts, *, as_array: bool = False) -> None:
        """`as_array`: stream a JSON array instead of events."""
        self._parts = parts
        self._sources = Sources()
        self.unsaid = self._sources.lines
        self._as_array = as_array
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._ending: dict[str, Any] = {}
        self._written = False
        self.content_type = "application/json" if as_array else ""
        self.ping = b"\n"
        """Whitespace between the elements of an array."""

    def message(self, message: Mapping[str, Any]) -> bytes:
        """Encode a complete reply."""
        parts: list[Part] = []
        for event in replay(message):
            if event.type != "message_stop":
                parts += self._taken(event)
        self._usage = dict(as_object(message.get("usage")))
        return orjson.dumps(self._last(joined(parts)))

    def error(self, status: int, error: Mapping[str, Any], *, streaming: bool) -> bytes:
        """Encode an error; in a stream as a chunk at which SDKs raise."""
        if not streaming:
            return orjson.dumps(envelope(status, error))
        return self._piece(envelope(status_of(error), error), last=True)

    def event(self, event: StreamEvent) -> bytes:
        """Encode the chunks for one event."""
        if event.type == "message_stop":
            return self._piece(self._last([]), last=True)
        parts = self._taken(event)
        return self._piece({"candidates": [_candidate(parts)], **self._head}) if parts else b""

    def _taken(self, event: StreamEvent) -> list[Part]:
        data = event.data
        if event.type == "message_start":
            message = as_object(data.get("message"))
            self._usage = dict(as_object(message.get("usage")))
            self._parts.start(str(message.get("model")))
            self._head = {"modelVersion": message.get("model"), "responseId": message.get("id")}
        elif event.type == "message_delta":
            usage = as_object(data.get("usage"))
            self._usage |= {key: value for key, value in usage.items() if value is not None}
            self._ending |= as_object(data.get("delta"))
        self._sources.event(event)
        return self._parts.event(event)

    def _last(self, parts: list[Part]) -> dict[str, Any]:
        """The last chunk of a stream, or the complete response."""
        reason = str(self._ending.get("stop_reason"))
        parts = [*parts, *self._parts.end(reason)] or [{"text": ""}]
        ended = _candidate(parts)
        ended["finishReason"] = FINISH.get(reason, "STOP")
        if self._parts.broken and ended["finishReason"] == "STOP":
            ended["finishReason"] = "MALFORMED_FUNCTION_CALL"
        why = as_object(self._ending.get("stop_details")).get("explanation")
        if isinstance(why, str) and why:
            ended["finishMessage"] = why
        if sources := self._sources.end(reason, self._usage):
            ended["groundingMetadata"] = sources
        usage = usage_metadata(self._usage)
        return {"candidates": [ended], "usageMetadata": usage, **self._head}

    def _piece(self, answer: Mapping[str, Any], *, last: bool = False) -> bytes:
        data = orjson.dumps(answer)
        if not self._as_array:
            return b"data: %b\r\n\r\n" % data
        begin, self._written = b",\n" if self._written else b"[", True
        return begin + data + (b"]" if last else b"")


class CountEncoder:
    """Encodes a token count."""

    def event(self, event: StreamEvent) -> bytes:
        """Nothing: a count is never streamed."""
        del event
        return b""

    def message(self, message: Mapping[str, Any]) -> bytes:
        """`CountTokensResponse`; Google's own is kept."""
        if "totalTokens" in message:
            own = {name: value for name, value in message.items() if name != "input_tokens"}
            return orjson.dumps(own)
        return orjson.dumps({"totalTokens": count(message.get("input_tokens"))})

    def error(self, status: int, error: Mapping[str, Any], *, streaming: bool) -> bytes:
        """Encode an error."""
        del streaming
        return orjson.dumps(envelope(status, error))


def usage_metadata(usage: Mapping[str, Any]) -> dict[str, int]:
    """`usageMetadata`; the prompt includes cached tokens, thoughts are counted separately."""
    totals = totals_of(usage)
    details = as_object(usage.get("output_tokens_details"))
    thoughts = count(details.get("thinking_tokens")) or count(details.get("reasoning_tokens"))
    thoughts = min(thoughts, totals.completion)
    found = {
        "promptTokenCount": totals.prompt,
        "candidatesTokenCount": totals.completion - thoughts,
        "totalTokenCount": totals.prompt + totals.completion,
    }
    if totals.cached:
        found["cachedContentTokenCount"] = totals.cached
    if thoughts:
        found["thoughtsTokenCount"] = thoughts
    return found


def _candidate(parts: list[Part]) -> dict[str, Any]:
    return {"content": {"parts": parts, "role": "model"}, "index": 0}
