"""The Responses API as the backend sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from plugway import Attempt, MessagesRequest, Original, as_list, as_object
from plugway_capabilities import Facts
from plugway_openai_wire._api import Call
from plugway_openai_wire.responses._policy import MOST_ID, SEARCH, Target
from plugway_openai_wire.responses._reader import Reader
from plugway_openai_wire.responses._request import request_of
from plugway_openai_wire.responses._teller import Reading
from plugway_openai_wire.responses._told import totals_in
from plugway_translation import IdCodec, MediaPolicy, Reasoning, ids_of_calls, usage_of

_LAST: Final = frozenset(
    ("error", "response.cancelled", "response.completed", "response.failed", "response.incomplete")
)
_MAY_BE_LAST: Final = re.compile(rb'"(?:error|response\.(?:can|com|fail|incom)\w+)"')
_BYTES_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class ResponsesApi:
    """`POST /responses`, stateless."""

    dialect: str = "openai-responses"
    path: str = "/responses"
    media: MediaPolicy = "placeholder"
    """What becomes of images and documents that a model cannot take."""
    web_search: bool = False
    """The API searches the web, where a client asks for Anthropic's tool that does."""
    rich_results: bool = True
    """Results of tools may hold images and files."""

    @property
    def runs_tools(self) -> tuple[str, ...]:
        """How the types of Anthropic's server tools begin that the API runs by itself."""
        return (SEARCH,) if self.web_search else ()

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> Call:
        """The request for this attempt. Raises `InvalidRequest` where there is none."""
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
        )
        translated = request_of({**request.body, "model": attempt.model}, target)
        reading = Reading(
            request.model,
            translated.names,
            target.ids,
            reasoning,
            translated.stops,
            len(request.raw) // _BYTES_PER_TOKEN,
            translated.warm_only,
            frozenset(ids_of_calls(as_list(request.get("messages")))),
        )
        return Call(translated.body, translated.notes, partial(Reader, reading))

    def ids(self, facts: Facts) -> IdCodec | None:
        """The codec for ids of calls, where the server is known to be particular about them: its
        limit here is not that of Chat Completions."""
        return IdCodec(MOST_ID) if facts.tool_id_limit else None

    def takes_own(self, original: Original, facts: Facts) -> bool:
        """True: items are in no order that a server is known to refuse."""
        return True

    def is_end(self, data: bytes) -> bool:
        """Whether this is the data of the last event of a stream."""
        if not _MAY_BE_LAST.search(data):
            return False
        try:
            return str(as_object(orjson.loads(data)).get("type")) in _LAST
        except orjson.JSONDecodeError:
            return False

    def usage(self, told: Mapping[str, Any]) -> Mapping[str, int]:
        """The `usage` of an answer or of the event that holds it, in the Messages API's parts."""
        answer = as_object(told.get("response")) or told
        return usage_of(totals_in(as_object(answer.get("usage"))))
