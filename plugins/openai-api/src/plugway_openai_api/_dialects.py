"""The two dialects: which paths they take, and who reads and writes what.

Every path is served without its `/v1` too, for clients whose base URL lacks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final

from plugway import Deferred, InvalidRequest, Original, RequestRejected, as_object
from plugway_openai_api._chat_reply import ChatEncoder
from plugway_openai_api._chat_request import chat_request
from plugway_openai_api._errors import STATUSES
from plugway_openai_api._policy import CHAT, RESPONSES, Rule, refusal
from plugway_openai_api._responses_reply import ResponsesEncoder
from plugway_openai_api._responses_request import responses_request
from plugway_openai_api._shelves import Shelves, with_items
from plugway_openai_api._tools import ToolBook, chat_tools, response_tools
from plugway_translation import MediaPolicy, Notes

UNTOLD: Final = "not translated: "
"""How the note on a request begins that only a server of the client's own API may understand."""


class OpenAIDialect(ABC):
    """What both have in common. The options are those of the plugin."""

    name: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]
    statuses = STATUSES
    table: ClassVar[Mapping[str, Rule]]
    """What becomes of each field."""
    limits: ClassVar[tuple[str, ...]]
    """The fields that limit the length of an answer."""
    said: ClassVar[str]
    """The field that has the conversation."""

    def __init__(self, max_tokens: int, media: MediaPolicy) -> None:
        self.max_tokens = max_tokens
        self.media: MediaPolicy = media
        self.shelves = Shelves()

    @abstractmethod
    def read(self, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
        """The Messages request. Raises `InvalidRequest`."""

    def decode(self, original: Original) -> Mapping[str, Any] | Deferred:
        """The Messages request, or what stands for one that nobody here can read.

        Servers add to OpenAI's API: whether one answers that gets the client's own bytes is known
        only when the target is (`check`), and only then it may be decoded. Raises
        `RequestRejected`.
        """
        decode, known = partial(self._decoded, original), self._known(original)
        return Deferred(known, decode) if known else decode()

    def _decoded(self, original: Original) -> Mapping[str, Any]:
        notes = Notes()
        if self.is_open_ended(original):
            original.made_up.add("max_tokens")
        try:
            found = self.read(original.parsed, notes)
        except InvalidRequest as refused:
            found = self._stand_in(original, refused)
            original.notes.append(UNTOLD + refused.message)
            return found
        original.notes.extend(notes.lines())
        if refusal(original.parsed, self.table) is not None:
            original.notes.append(UNTOLD + "a field requests a feature that only its own API has")
        if original.made_up:
            told = f"emulate max_tokens: the client gave none; {found['max_tokens']} at most"
            original.notes.append(told)
        return found

    def check(self, original: Original) -> None:
        """Raises `RequestRejected` where the request can only be sent on as it is."""
        if any(note.startswith(UNTOLD) for note in original.notes):
            self.read(original.parsed, Notes())
        if (refused := refusal(original.parsed, self.table)) is not None:
            raise refused

    def is_open_ended(self, original: Original) -> bool:
        """Whether the client left the length of the answer open."""
        return not any(original.get(name) for name in self.limits)

    def _known(self, original: Original) -> dict[str, Any] | None:
        """What is known of a request without reading what it says; None where it is no request."""
        model, stream = original.get("model"), original.get("stream")
        raw = original.unparsed(self.said)
        said = (
            original.get(self.said) if raw is None else bytes(memoryview(raw)[:1]) in (b"[", b'"')
        )
        if not said or not isinstance(said, list | str | bool):
            return None
        if not isinstance(model, str) or not isinstance(stream, bool | None):
            return None
        return {"model": model, "stream": stream is True}

    def _stand_in(self, original: Original, refused: InvalidRequest) -> dict[str, Any]:
        """A request as long as the client's, to the same model."""
        known = self._known(original)
        if known is None or not original.get(self.said):
            raise refused
        text = original.body.decode("utf-8", "replace")
        messages = [{"role": "user", "content": text}]
        return {**known, "max_tokens": self.max_tokens, "messages": messages}


class ChatDialect(OpenAIDialect):
    """`POST /v1/chat/completions`."""

    name = "openai-chat"
    paths = ("/v1/chat/completions", "/chat/completions")
    table = CHAT
    limits = ("max_completion_tokens", "max_tokens")
    said = "messages"

    def read(self, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
        """The Messages request. Raises `InvalidRequest`."""
        return chat_request(body, notes, max_tokens=self.max_tokens, media=self.media)

    def encoder(self, original: Original) -> ChatEncoder:
        """The encoder of one answer."""
        body = _parsed(original)
        options = as_object(body.get("stream_options"))
        return ChatEncoder(_tools(body, original), include_usage=bool(options.get("include_usage")))


class ResponsesDialect(OpenAIDialect):
    """`POST /v1/responses`; of its state there are the items of the last answers."""

    name = "openai-responses"
    paths = ("/v1/responses", "/responses")
    table = RESPONSES
    limits = ("max_output_tokens",)
    said = "input"

    def decode(self, original: Original) -> Mapping[str, Any] | Deferred:
        """The Messages request, with the items that the client refers to. Raises
        `RequestRejected`."""
        if b'"id"' in original.body:
            filled = with_items(original.parsed, self.shelves.of(original.caller))
            if filled is not None:
                original.fill(filled)
        return super().decode(original)

    def read(self, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
        """The Messages request. Raises `InvalidRequest`."""
        return responses_request(body, notes, max_tokens=self.max_tokens, media=self.media)

    def encoder(self, original: Original) -> ResponsesEncoder:
        """The encoder of one answer."""
        body = _parsed(original)
        shelf = None if body.get("store") is False else self.shelves.of(original.caller)
        return ResponsesEncoder(body, _tools(body, original), shelf)


def _parsed(original: Original) -> Mapping[str, Any]:
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
