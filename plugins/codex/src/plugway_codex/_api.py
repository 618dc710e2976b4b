"""The part of the Responses API that the endpoint of the `codex` login accepts. Pure functions.

Its fields are those of `ResponsesApiRequest` in `codex-rs/codex-api/src/common.rs` of openai/codex;
it streams only and stores nothing ("Store must be set to false").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import Attempt, MessagesRequest, Original
from plugway_capabilities import Facts
from plugway_openai_wire import Call, Carried
from plugway_openai_wire.responses import ResponsesApi
from plugway_translation import IdCodec, MediaPolicy

FIELDS: Final = frozenset(
    (
        "include",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "store",
        "stream",
        "text",
        "tool_choice",
        "tools",
    )
)
_NAMES: Final = {"max_output_tokens": "max_tokens", "safety_identifier": "metadata.user_id"}
PLAIN_INSTRUCTIONS: Final = "You are a helpful assistant."
"""For a request without `system`, because the endpoint answers 400 without instructions."""


@dataclass(frozen=True, slots=True)
class CodexApi:
    """`POST /responses` of the login's endpoint."""

    dialect: str = "codex-responses"
    """No client speaks this dialect: requests of OpenAI's clients must be adapted too."""
    path: str = "/responses"
    media: MediaPolicy = "placeholder"
    responses: ResponsesApi = field(default_factory=ResponsesApi)

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> Call:
        """The request for this attempt. Raises `InvalidRequest` if it cannot be translated."""
        whole = ResponsesApi(media=self.media).call(request, attempt, facts)
        notes = whole.notes.without(_NAMES.values())
        body = {name: value for name, value in whole.body.items() if name in FIELDS}
        for name in whole.body.keys() - FIELDS:
            notes.add(
                _NAMES.get(name, name),
                "drop",
                "the endpoint of the `codex` login does not accept it",
            )
        if body.get("store") is True:
            notes.add("store", "drop", "the endpoint of the `codex` login stores nothing")
        if "instructions" not in body:
            body["instructions"] = PLAIN_INSTRUCTIONS
            notes.add(
                "system",
                "emulate",
                "the endpoint requires instructions; a plain sentence was added",
            )
        return Call({**body, "store": False, "stream": True}, notes, whole.reader)

    def carried(self, request: MessagesRequest) -> Carried:
        """What the client's own request says that the Messages API lacks and Responses has."""
        return self.responses.carried(request)

    def ids(self, facts: Facts) -> IdCodec | None:
        """None: the endpoint has no known requirements."""
        return None

    def accepts_original(self, original: Original, facts: Facts) -> bool:
        """False: every request must be adapted."""
        return False

    def is_end(self, data: bytes) -> bool:
        """Whether `data` is that of a stream's last event."""
        return self.responses.is_end(data)

    def usage(self, data: Mapping[str, Any]) -> Mapping[str, int]:
        """The `usage` of a response or of the event that contains it, as Messages API fields."""
        return self.responses.usage(data)
