"""Relays the request of a client of Gemini's own API: what is sent, and whether it may be.

Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from plugway import BackendRefused, MessagesRequest, Original, as_list, as_object
from plugway_anthropic_wire import is_unchanged
from plugway_capabilities import lessons
from plugway_gemini._models import resource
from plugway_gemini._reader import totals_in
from plugway_translation import detailed_usage, is_translatable, loses_only

STREAMED: Final = "gemini-streamGenerateContent"
COUNTED: Final = "gemini-countTokens"
"""Dialects of clients that use Gemini's API, for streams and for token counts."""
_DIALECTS: Final = ("gemini-generateContent", STREAMED, COUNTED)
_SEALED: Final = re.compile(rb'thought(?:S|_s)ignature"\s*:\s*"cGx1Z3dheS4xL')
"""Plugway's own signature (`PREFIX` of `plugway-signature`, in base64), of a translated reply."""
_ENDED: Final = re.compile(rb'"(?:finishReason|blockReason)"\s*:')
_CONFIGS: Final = ("generationConfig", "generation_config")
_LIMITS: Final = ("maxOutputTokens", "max_output_tokens")
_ASKED: Final = ("generateContentRequest", "generate_content_request")
_SETTINGS: Final = ("safetySettings", "safety_settings")
_ROUTED: Final = "the model's name at the target"


def is_relayable(original: Original, request: MessagesRequest) -> bool:
    """Whether the client's own body can be sent.

    It cannot if plugins changed more than the model and the output limit, if the client wants a
    stream as one JSON array, or if it sends back thinking of a reply that was translated.
    """
    if original.dialect not in _DIALECTS or not is_unchanged(original, request):
        return False
    if original.dialect == STREAMED and ("alt", "sse") not in parse_qsl(original.query):
        return False
    if original.dialect == COUNTED and not any(original.get(n) for n in ("contents", *_ASKED)):
        return False  # the token of the client allows neither of them
    return _SEALED.search(original.body) is None


def client_request(
    original: Original,
    request: MessagesRequest,
    model: str,
    safety: list[dict[str, str]],
) -> MessagesRequest:
    """The client's request for `model`: with the output limit if a plugin changed it, and with the
    configured thresholds, if any."""
    sent = original.own_request()
    if sent.get("model") is not None:
        sent = sent.replace(model=resource(model), because=_ROUTED)
    for name in _ASKED:
        if inner := as_object(sent.get(name)):
            sent = _with(sent, name, {**inner, "model": resource(model)}, _ROUTED)
    limited = any(change.field == "max_tokens" for change in request.changes)
    if limited and "max_tokens" not in original.made_up:
        for name in [name for name in _CONFIGS if name in sent.fields] or _CONFIGS[:1]:
            given = as_object(sent.get(name))
            config = {key: value for key, value in given.items() if key not in _LIMITS}
            config[_LIMITS[0]] = request.get("max_tokens")
            sent = _with(sent, name, config, "changed by the gateway")
    if safety:
        sent = sent.without(_SETTINGS[1:], because="the option `safety`")
        sent = _with(sent, _SETTINGS[0], safety, "the option `safety`")
    return sent


def _with(sent: MessagesRequest, name: str, value: Any, because: str) -> MessagesRequest:
    return sent.replace(because=because, **{name: value})


def is_better_translated(
    original: Original, refusal: BackendRefused, rejected: Collection[str]
) -> bool:
    """Whether a translation avoids what the error reports: thought signatures, for which it has a
    replacement, or what the ledger learns from, if the translation loses no more than that."""
    if not is_translatable(original):
        return False
    if rejects_signatures(refusal):
        return True
    learns = lessons(refusal.status, refusal.body)
    return bool(learns) and loses_only(original.notes, rejected)


def rejects_signatures(refusal: BackendRefused) -> bool:
    """Whether an error is about thought signatures."""
    return "thought signature" in refusal.message.lower().replace("_", " ")


class GeminiReplies:
    """What a relay needs to know of Gemini's replies (`RelayedApi`)."""

    def is_end(self, data: bytes) -> bool:
        """Whether the chunk has a reason for the end of the reply."""
        if _ENDED.search(data) is None:
            return False
        try:
            answer = as_object(orjson.loads(data))
        except orjson.JSONDecodeError:
            return False
        candidates = map(as_object, as_list(answer.get("candidates")))
        blocked = as_object(answer.get("promptFeedback")).get("blockReason")
        return bool(blocked) or any(one.get("finishReason") for one in candidates)

    def usage(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `usageMetadata` of a chunk or a whole reply, as the Messages API counts it."""
        return detailed_usage(totals_in(as_object(data.get("usageMetadata"))))
