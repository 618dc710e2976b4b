"""The Chat and Responses dialects: their paths, and the code that decodes and encodes them.

Every path is also served without `/v1`, for clients whose base URL lacks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final

from plugway import Deferred, InvalidRequest, Original, RequestRejected, as_list, as_object
from plugway_openai_api._chat_reply import ChatEncoder
from plugway_openai_api._chat_request import Messages, chat_request
from plugway_openai_api._client_tools import hosted_ids
from plugway_openai_api._content import Parts
from plugway_openai_api._errors import STATUSES
from plugway_openai_api._fields import MAX_INTEGER
from plugway_openai_api._item_store import ItemStores, with_items
from plugway_openai_api._policy import CHAT, RESPONSES, refusal
from plugway_openai_api._responses_reply import ResponsesEncoder
from plugway_openai_api._responses_request import Items, responses_request
from plugway_openai_api._stand_in import ToolReader, tools_of, turns_of
from plugway_openai_api._tools import Key, ToolBook, chat_tools, renamed, response_tools
from plugway_openai_api._turns import Turns
from plugway_translation import NOT_TRANSLATED, MediaPolicy, Notes, Rule, is_translatable

Reader = Callable[[Mapping[str, Any], str], None]

_SHORT: Final = 16
"""Conversations of fewer bytes may be empty, and are parsed to find out."""


class OpenAIDialect(ABC):
    """Base of both dialects. The arguments are the plugin's options."""

    name: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]
    statuses = STATUSES
    table: ClassVar[Mapping[str, Rule]]
    """How each field of a request is treated."""
    limits: ClassVar[tuple[str, ...]]
    """Fields that limit the length of a reply."""
    conversation_field: ClassVar[str]
    """The field that holds the conversation."""

    def __init__(self, max_tokens: int, media: MediaPolicy) -> None:
        self.max_tokens = max_tokens
        self.media: MediaPolicy = media
        self.stores = ItemStores()

    @abstractmethod
    def read(self, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
        """Translate a body into a Messages request. Raises `InvalidRequest`."""

    @abstractmethod
    def reader(self, body: Mapping[str, Any], turns: Turns) -> Reader:
        """A function that adds one message or item to `turns`, or raises `InvalidRequest`."""

    def decode(self, original: Original) -> Mapping[str, Any] | Deferred:
        """Return the Messages request, or a stand-in if the request cannot be translated.

        Some servers extend OpenAI's API. Only when the target is known does `check` decide
        whether such a request is relayed as it came, so decoding may be deferred until then.
        Raises `RequestRejected`.
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
            original.notes.append(NOT_TRANSLATED + refused.message)
            return found
        original.notes.extend(notes.lines())
        if refusal(original.parsed, self.table) is not None:
            original.notes.append(
                NOT_TRANSLATED + "a field requests a feature that only its own API has"
            )
        if original.made_up:
            note = f"emulate max_tokens: the client gave none; {found['max_tokens']} at most"
            original.notes.append(note)
        return found

    def check(self, original: Original) -> None:
        """Raise `RequestRejected` if the request can only be relayed as it came."""
        if not is_translatable(original):
            self.read(original.parsed, Notes())
        if (refused := refusal(original.parsed, self.table)) is not None:
            raise refused

    def is_open_ended(self, original: Original) -> bool:
        """Whether the client set no limit for the reply."""
        return not any(original.get(name) for name in self.limits)

    def _known(self, original: Original) -> dict[str, Any] | None:
        """The fields known without parsing the conversation; None if the body is not a request."""
        model, stream = original.get("model"), original.get("stream")
        raw = original.unparsed(self.conversation_field)
        if raw is None or len(memoryview(raw)) < _SHORT:
            value = original.get(self.conversation_field)
            is_present = bool(value) and isinstance(value, list | str)
        else:
            is_present = bytes(memoryview(raw)[:1]) in (b"[", b'"')
        if not is_present or not isinstance(model, str) or not isinstance(stream, bool | None):
            return None
        return {"model": model, "stream": stream is True}

    def _stand_in(self, original: Original, refused: InvalidRequest) -> dict[str, Any]:
        """A request to the same model with those turns and tools that can be read."""
        known = self._known(original)
        if known is None or not original.get(self.conversation_field):
            raise refused
        body, turns = original.parsed, Turns(Notes())
        if isinstance(instructions := body.get("instructions"), str):
            turns.instruct(instructions)
        messages = turns_of(body.get(self.conversation_field), turns, self.reader(body, turns))
        found = {**known, "max_tokens": self._limit(original), "messages": messages}
        tools = tools_of(body, self.conversation_field, _tool_reader(self.name))
        return {**found, **turns.head(), **({"tools": tools} if tools else {})}

    def _limit(self, original: Original) -> int:
        """The client's limit of the reply, or else the configured one."""
        limits = (original.get(name) for name in self.limits)
        return next((n for n in limits if type(n) is int and 0 < n <= MAX_INTEGER), self.max_tokens)


class ChatDialect(OpenAIDialect):
    """`POST /v1/chat/completions`."""

    name = "openai-chat"
    paths = ("/v1/chat/completions", "/chat/completions")
    table = CHAT
    limits = ("max_completion_tokens", "max_tokens")
    conversation_field = "messages"

    def read(self, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
        """Translate a body into a Messages request. Raises `InvalidRequest`."""
        return chat_request(body, notes, max_tokens=self.max_tokens, media=self.media)

    def reader(self, body: Mapping[str, Any], turns: Turns) -> Reader:
        """Return a function that adds one message to `turns`."""
        notes = Notes()
        return Messages(turns, Parts(notes, "placeholder"), notes).read

    def encoder(self, original: Original) -> ChatEncoder:
        """Return the encoder of one reply."""
        body = _parsed(original)
        options = as_object(body.get("stream_options"))
        return ChatEncoder(_tools(body, original), include_usage=bool(options.get("include_usage")))


class ResponsesDialect(OpenAIDialect):
    """`POST /v1/responses`; the only state is the items of recent replies."""

    name = "openai-responses"
    paths = ("/v1/responses", "/responses")
    table = RESPONSES
    limits = ("max_output_tokens",)
    conversation_field = "input"

    def decode(self, original: Original) -> Mapping[str, Any] | Deferred:
        """Return the Messages request, with item references resolved.

        Raises `RequestRejected`.
        """
        if b'"id"' in original.body:
            filled = with_items(original.parsed, self.stores.of(original.caller))
            if filled is not None:
                original.fill(filled)
        return super().decode(original)

    def read(self, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
        """Translate a body into a Messages request. Raises `InvalidRequest`."""
        return responses_request(body, notes, max_tokens=self.max_tokens, media=self.media)

    def reader(self, body: Mapping[str, Any], turns: Turns) -> Reader:
        """Return a function that adds one item to `turns`."""
        notes = Notes()
        hosted = hosted_ids(list(map(as_object, as_list(body.get(self.conversation_field)))))
        names = dict[Key, str]()
        with suppress(InvalidRequest):  # then the request is refused anyway
            names = renamed(response_tools(body, Notes()))
        return Items(turns, Parts(notes, "placeholder"), notes, hosted, names).read

    def encoder(self, original: Original) -> ResponsesEncoder:
        """Return the encoder of one reply."""
        body = _parsed(original)
        store = None if body.get("store") is False else self.stores.of(original.caller)
        return ResponsesEncoder(body, _tools(body, original), store)


def _parsed(original: Original) -> Mapping[str, Any]:
    """The body; empty if it could not be parsed, for encoding the error."""
    try:
        return original.parsed
    except RequestRejected:
        return {}


def _tools(body: Mapping[str, Any], original: Original) -> ToolBook:
    try:
        return ToolBook.of(_tool_reader(original.dialect)(body, Notes()))
    except RequestRejected:
        return ToolBook({})


def _tool_reader(dialect: str) -> ToolReader:
    return chat_tools if dialect == ChatDialect.name else response_tools
