"""Chat Completions as the backend uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import Attempt, MessagesRequest
from plugway_capabilities import Facts
from plugway_openai_wire._sse import DONE
from plugway_openai_wire.chat._policy import Quirks, Target
from plugway_openai_wire.chat._reader import ChatReader
from plugway_openai_wire.chat._request import Translated, request_of
from plugway_translation import MediaPolicy, Notes, Reasoning

DIALECT: Final = "openai-chat"
"""The dialect of clients that speak Chat Completions."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One request, and the readers of its answer."""

    translated: Translated
    model: str

    @property
    def body(self) -> Mapping[str, Any]:
        """What is sent."""
        return self.translated.body

    @property
    def notes(self) -> Notes:
        """What could not be carried over."""
        return self.translated.notes

    def reader(self) -> ChatReader:
        """A reader for one answer."""
        return ChatReader(self.translated, self.model)


@dataclass(frozen=True, slots=True)
class ChatApi:
    """`POST /chat/completions` of one server."""

    quirks: Quirks
    media: MediaPolicy = "placeholder"
    path: str = "/chat/completions"
    dialect: str = DIALECT

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> ChatCall:
        """The request for this attempt. Raises `RequestRejected` where there is none."""
        session = request.header("x-claude-code-session-id")
        reasoning = Reasoning.of(attempt.backend.name, attempt.model, session)
        target = Target(reasoning, self.quirks, facts, self.media, reasoning.session)
        return ChatCall(request_of(request.body, target), attempt.model)

    def is_end(self, data: bytes) -> bool:
        """Whether this is `[DONE]`."""
        return data == DONE
