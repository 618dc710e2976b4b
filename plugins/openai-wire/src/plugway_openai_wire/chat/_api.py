"""Chat Completions for the backend."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from plugway import Attempt, MessagesRequest, Original
from plugway_anthropic_wire import Rewriter
from plugway_capabilities import Facts
from plugway_openai_wire._answer import unwrapping
from plugway_openai_wire._api import Call
from plugway_openai_wire._carried import CHAT, Carried, carried
from plugway_openai_wire._events import DONE, is_complete
from plugway_openai_wire._policy import ids_of
from plugway_openai_wire.chat._original import accepts_original
from plugway_openai_wire.chat._outcome import totals_in, usage_in
from plugway_openai_wire.chat._parts import PlainContent
from plugway_openai_wire.chat._policy import MOST_ID, Quirks, Target
from plugway_openai_wire.chat._reader import ChatReader
from plugway_openai_wire.chat._request import request_of
from plugway_signature import session_hash
from plugway_translation import IdCodec, MediaPolicy, Reasoning, usage_of

_FINISHED: Final = re.compile(rb'"finish_reason":\s*"[^"]')
"""The same text inside a string has its quotes escaped."""


@dataclass(frozen=True, slots=True)
class ChatApi:
    """`POST /chat/completions` of one server."""

    quirks: Quirks
    media: MediaPolicy = "placeholder"
    path: str = "/chat/completions"
    dialect: str = CHAT

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> Call:
        """Translate the request for this attempt. Raises `RequestRejected` if it cannot be sent."""
        reasoning = Reasoning.of(attempt.backend.name, attempt.model, attempt.exchange.session_id)
        share = attempt.exchange.caller.share
        key = reasoning.session or session_hash(share)
        carried = self.carried(request)
        target = Target(reasoning, self.quirks, facts, self.media, key, carried)
        made = request_of(request.body, target)
        reader = unwrapping(request.body, partial(ChatReader, made, attempt.model))
        return Call(made.body, made.notes, reader)

    def carried(self, request: MessagesRequest) -> Carried:
        """What the client's own request says that the Messages API lacks and this server has."""
        quirks = self.quirks
        known = None if quirks.openai_fields else (quirks.user_field, quirks.cache_key_field)
        return carried(request, CHAT, known)

    def ids(self, facts: Facts) -> IdCodec | None:
        """The codec for call ids, if the server has known requirements."""
        return ids_of(facts, MOST_ID) if facts.tool_id_limit else None

    def accepts_original(self, original: Original, facts: Facts) -> bool:
        """Whether the server is not known to reject anything in the conversation."""
        return accepts_original(original, self.quirks, facts)

    def rewriter(self, note: Callable[[str], None]) -> Rewriter | None:
        """A rewriter for one relayed reply."""
        return PlainContent(note)

    def is_end(self, data: bytes) -> bool:
        """Whether `data` is `[DONE]`, or has a `finish_reason`: some servers send no `[DONE]`."""
        return data == DONE or (_FINISHED.search(data) is not None and is_complete(data))

    def usage(self, data: Mapping[str, Any]) -> Mapping[str, int]:
        """The `usage` of a response or a chunk, as the Messages API counts it."""
        return usage_of(totals_in(usage_in(data)))
