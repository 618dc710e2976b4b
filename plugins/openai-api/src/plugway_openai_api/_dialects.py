"""The two dialects: which paths they take, and who reads and writes what.

Every path is served without its `/v1` too, for clients whose base URL lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import Original, RequestRejected, as_object
from plugway_openai_api._chat_reply import ChatEncoder
from plugway_openai_api._chat_request import chat_request
from plugway_openai_api._errors import STATUSES
from plugway_openai_api._policy import CHAT, RESPONSES, Rule
from plugway_openai_api._responses_reply import ResponsesEncoder
from plugway_openai_api._responses_request import responses_request
from plugway_openai_api._tools import ToolBook, chat_tools, response_tools
from plugway_translation import MediaPolicy, Notes

TABLES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "openai-chat": CHAT,
    "openai-responses": RESPONSES,
}
"""What becomes of each field, by the dialect's name."""
_UNSAID: Final[Mapping[str, tuple[str, ...]]] = {
    "openai-chat": ("max_completion_tokens", "max_tokens"),
    "openai-responses": ("max_output_tokens",),
}


class ChatDialect:
    """`POST /v1/chat/completions`."""

    name = "openai-chat"
    paths = ("/v1/chat/completions", "/chat/completions")
    statuses = STATUSES

    def __init__(self, max_tokens: int, media: MediaPolicy) -> None:
        self._max_tokens = max_tokens
        self._media: MediaPolicy = media

    def decode(self, original: Original) -> Mapping[str, Any]:
        """The Messages request. Raises `RequestRejected`."""
        notes = Notes()
        limit, media = self._max_tokens, self._media
        found = chat_request(original.parsed, notes, max_tokens=limit, media=media)
        return _noted(found, original, notes)

    def encoder(self, original: Original) -> ChatEncoder:
        """The encoder of one answer."""
        body = _read(original)
        options = as_object(body.get("stream_options"))
        return ChatEncoder(_tools(body, original), include_usage=bool(options.get("include_usage")))


class ResponsesDialect:
    """`POST /v1/responses`, without state."""

    name = "openai-responses"
    paths = ("/v1/responses", "/responses")
    statuses = STATUSES

    def __init__(self, max_tokens: int, media: MediaPolicy) -> None:
        self._max_tokens = max_tokens
        self._media: MediaPolicy = media

    def decode(self, original: Original) -> Mapping[str, Any]:
        """The Messages request. Raises `RequestRejected`."""
        notes = Notes()
        limit, media = self._max_tokens, self._media
        found = responses_request(original.parsed, notes, max_tokens=limit, media=media)
        return _noted(found, original, notes)

    def encoder(self, original: Original) -> ResponsesEncoder:
        """The encoder of one answer."""
        body = _read(original)
        return ResponsesEncoder(body, _tools(body, original))


def says_no_limit(original: Original) -> bool:
    """Whether the client left the length of the answer open."""
    return not any(original.parsed.get(name) for name in _UNSAID[original.dialect])


def _noted(found: dict[str, Any], original: Original, notes: Notes) -> dict[str, Any]:
    original.notes.extend(notes.lines())
    if says_no_limit(original):
        told = f"emulate max_tokens: the client gave none; {found['max_tokens']} at most"
        original.notes.append(told)
    return found


def _read(original: Original) -> Mapping[str, Any]:
    """The body; empty where it could not be read, for the encoder of the refusal."""
    try:
        return original.parsed
    except RequestRejected:
        return {}


def _tools(body: Mapping[str, Any], original: Original) -> ToolBook:
    reader = chat_tools if original.dialect == ChatDialect.name else response_tools
    try:
        return ToolBook.of(reader(body, Notes()))
    except RequestRejected:
        return ToolBook({})
