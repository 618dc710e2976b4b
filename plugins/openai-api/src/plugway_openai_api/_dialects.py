"""The two dialects: which paths they take, and who reads and writes what.

Every path is served without its `/v1` too, for clients whose base URL lacks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final

from plugway import Deferred, InvalidRequest, Original, RequestRejected, as_list, as_object
from plugway_openai_api._chat_reply import ChatEncoder
from plugway_openai_api._chat_request import Messages, chat_request
from plugway_openai_api._client_tools import hosted_ids
from plugway_openai_api._content import Parts
from plugway_openai_api._errors import STATUSES
from plugway_openai_api._fields import MAX_INTEGER
from plugway_openai_api._policy import CHAT, RESPONSES, Rule, refusal
from plugway_openai_api._responses_reply import ResponsesEncoder
from plugway_openai_api._responses_request import Items, responses_request
from plugway_openai_api._shelves import Shelves, with_items
from plugway_openai_api._stand_in import ToolReader, tools_of, turns_of
from plugway_openai_api._tools import ToolBook, chat_tools, response_tools
from plugway_openai_api._turns import Turns
from plugway_translation import MediaPolicy, Notes

Reader = Callable[[Mapping[str, Any], str], None]

_SHORT: Final = 16
"""Bytes of a conversation that may have nothing in it."""
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

    @abstractmethod
    def reader(self, body: Mapping[str, Any], turns: Turns) -> Reader:
        """What reads one message or item into `turns`. It raises `InvalidRequest`."""

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
        if not self.is_said(original):
            self.read(original.parsed, Notes())
        if (refused := refusal(original.parsed, self.table)) is not None:
            raise refused

    def is_said(self, original: Original) -> bool:
        """Whether the Messages API can say all of it, so that `check` raises nothing."""
        return not any(note.startswith(UNTOLD) for note in original.notes)

    def is_open_ended(self, original: Original) -> bool:
        """Whether the client left the length of the answer open."""
        return not any(original.get(name) for name in self.limits)

    def _known(self, original: Original) -> dict[str, Any] | None:
        """What is known of a request without reading what it says; None where it is no request."""
        model, stream = original.get("model"), original.get("stream")
        raw = original.unparsed(self.said)
        if raw is None or len(memoryview(raw)) < _SHORT:
            says = isinstance(said := original.get(self.said), list | str) and bool(said)
        else:
            says = bytes(memoryview(raw)[:1]) in (b"[", b'"')
        if not says or not isinstance(model, str) or not isinstance(stream, bool | None):
            return None
        return {"model": model, "stream": stream is True}

    def _stand_in(self, original: Original, refused: InvalidRequest) -> dict[str, Any]:
        """A request to the same model with what can be read of the client's turns and tools."""
        known = self._known(original)
        if known is None or not original.get(self.said):
            raise refused
        body, turns = original.parsed, Turns(Notes())
        if isinstance(told := body.get("instructions"), str):
            turns.instruct(told)
        messages = turns_of(body.get(self.said), turns, self.reader(body, turns))
        found = {**known, "max_tokens": self._limit(original), "messages": messages}
        tools = tools_of(body, self.said, _tool_reader(self.name))
        return {**found, **turns.head(), **({"tools": tools} if tools else {})}

    def _limit(self, original: Original) -> int:
        """The limit of the answer that the client gave, or the one for those that give none."""
        told = (original.get(name) for name in self.limits)
        return next((n for n in told if type(n) is int and 0 < n <= MAX_INTEGER), self.max_tokens)


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

    def reader(self, body: Mapping[str, Any], turns: Turns) -> Reader:
        """What reads one message into `turns`."""
        notes = Notes()
        return Messages(turns, Parts(notes, "placeholder"), notes).read

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

    def reader(self, body: Mapping[str, Any], turns: Turns) -> Reader:
        """What reads one item into `turns`."""
        notes = Notes()
        hosted = hosted_ids(list(map(as_object, as_list(body.get(self.said)))))
        return Items(turns, Parts(notes, "placeholder"), notes, hosted).read

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
    try:
        return ToolBook.of(_tool_reader(original.dialect)(body, Notes()))
    except RequestRejected:
        return ToolBook({})


def _tool_reader(dialect: str) -> ToolReader:
    return chat_tools if dialect == ChatDialect.name else response_tools
