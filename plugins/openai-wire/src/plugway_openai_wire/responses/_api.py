"""The Responses API for the backend."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from plugway import Attempt, MessagesRequest, Original, as_list, as_object
from plugway_capabilities import Facts
from plugway_openai_wire._answer import unwrapping
from plugway_openai_wire._api import Call, Rewriter
from plugway_openai_wire._carried import RESPONSES, Carried, carried
from plugway_openai_wire.responses._outcome import totals_in
from plugway_openai_wire.responses._policy import MOST_ID, SEARCH, Target
from plugway_openai_wire.responses._reader import Reader
from plugway_openai_wire.responses._request import request_of
from plugway_openai_wire.responses._writer import ReplyContext
from plugway_translation import IdCodec, MediaPolicy, Reasoning, ids_of_calls, usage_of

_LAST: Final = frozenset(
    ("error", "response.cancelled", "response.completed", "response.failed", "response.incomplete")
)
_MAY_BE_LAST: Final = re.compile(rb'"(?:error|response\.(?:can|com|fail|incom)\w+)"')
_BYTES_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class ResponsesApi:
    """`POST /responses`, stateless."""

    dialect: str = RESPONSES
    path: str = "/responses"
    media: MediaPolicy = "placeholder"
    """How to treat images and documents that a model does not accept."""
    web_search: bool = False
    """The API runs web searches, if a client offers Anthropic's web search tool."""
    rich_results: bool = True
    """Tool results may contain images and files."""

    @property
    def runs_tools(self) -> tuple[str, ...]:
        """Type prefixes of Anthropic's server tools that the API runs itself."""
        return (SEARCH,) if self.web_search else ()

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> Call:
        """Translate the request for this attempt. Raises `InvalidRequest` if it cannot be sent."""
        session = attempt.exchange.session_id or ""
        reasoning = Reasoning.of(attempt.backend.name, attempt.model, session or None)
        share = attempt.exchange.caller.share
        target = Target(
            reasoning,
            facts,
            self.media,
            self.rich_results,
            self.web_search,
            cache_key=session,
            share=share,
            carried=self.carried(request),
        )
        translated = request_of({**request.body, "model": attempt.model}, target)
        reading = ReplyContext(
            request.model,
            translated.names,
            target.ids,
            reasoning,
            translated.stops,
            len(request.raw) // _BYTES_PER_TOKEN,
            translated.warm_only,
            frozenset(ids_of_calls(as_list(request.get("messages")))),
        )
        reader = unwrapping(request.body, partial(Reader, reading))
        return Call(translated.body, translated.notes, reader)

    def carried(self, request: MessagesRequest) -> Carried:
        """What the client's own request says that the Messages API lacks and this one has."""
        return carried(request, RESPONSES)

    def ids(self, facts: Facts) -> IdCodec | None:
        """The codec for call ids, if the server has known requirements; the length limit differs
        from that of Chat Completions."""
        return IdCodec(MOST_ID) if facts.tool_id_limit else None

    def accepts_original(self, original: Original, facts: Facts) -> bool:
        """True: no server is known to reject an order of items."""
        return True

    def rewriter(self, note: Callable[[str], None]) -> Rewriter | None:
        """None: no server is known to need it."""
        return None

    def is_end(self, data: bytes) -> bool:
        """Whether `data` is that of a stream's last event."""
        if not _MAY_BE_LAST.search(data):
            return False
        try:
            return str(as_object(orjson.loads(data)).get("type")) in _LAST
        except orjson.JSONDecodeError:
            return False

    def usage(self, data: Mapping[str, Any]) -> Mapping[str, int]:
        """The Messages API's `usage` for a response, or for the event that contains it."""
        answer = as_object(data.get("response")) or data
        return usage_of(totals_in(as_object(answer.get("usage"))))
