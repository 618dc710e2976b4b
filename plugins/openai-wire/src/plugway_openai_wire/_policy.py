"""How both OpenAI APIs treat the parts of a Messages request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_capabilities import Facts
from plugway_translation import (
    IdCodec,
    MediaPolicy,
    Notes,
    Rule,
    hashed,
    limit_images,
)

CACHE: Final = Rule("drop", "the API has no cache markers")
EXTRAS: Final = {"cache_control": CACHE.because, "citations": "the API does not accept them"}
"""Fields of blocks that are dropped, and why."""
ONE_PROVIDER: Final = Rule("drop", "only Anthropic supports it")

CACHE_KEY: Final = "a hash of this conversation, used to find its cached prefix"

MOST_NAME: Final = 64
"""Maximum length of a tool's name (`function_definition.py` of the `openai` SDK)."""

OUTPUT: Final[Mapping[str, Rule]] = {
    "effort": Rule("translate"),
    "format": Rule("translate"),
    "task_budget": Rule("drop", "the API has no task budgets"),
}
"""Fields of `output_config`."""

TOOL: Final[Mapping[str, Rule]] = {
    "allowed_callers": Rule("drop", "only the model calls tools"),
    "cache_control": CACHE,
    "defer_loading": Rule("drop", "all tools are loaded"),
    "description": Rule("preserve"),
    "eager_input_streaming": Rule("drop", "arguments are always streamed"),
    "input_examples": Rule("drop", "the API has no such field"),
    "input_schema": Rule("translate"),
    "name": Rule("translate"),
    "strict": Rule("translate"),
    "type": Rule("translate"),
}
"""Fields of tools."""


def ids_of(facts: Facts, most: int) -> IdCodec:
    """The codec for call ids, by the model's facts; `most` is the API's limit in characters."""
    limit = facts.tool_id_limit or most
    return IdCodec(limit, exact=facts.tool_id_pattern.endswith(f"{{{limit}}}"))


def turns_in(body: Mapping[str, Any], facts: Facts, media: MediaPolicy, notes: Notes) -> list[Any]:
    """The turns of a request, with as many images as the server accepts.

    Raises `InvalidRequest` if `media` rejects the others.
    """
    messages = as_list(body.get("messages"))
    if not facts.images_limit:
        return messages
    return list(limit_images(messages, facts.images_limit, notes, media))


def user_hash(user_id: str) -> str:
    """Hash the user in `metadata.user_id`; the result is the same in all of the user's
    conversations.

    OpenAI accepts 128 characters as `safety_identifier`, without personal names
    (`types/responses/response_create_params.py` of the `openai` SDK). Claude Code puts user and
    conversation into one text, `user_..._session_...` or an object with a `session_id`.
    """
    try:
        parts = as_object(orjson.loads(user_id)) if user_id.startswith("{") else {}
    except orjson.JSONDecodeError:
        parts = {}
    own = {name: value for name, value in parts.items() if name != "session_id"}
    if own:
        return hashed(orjson.dumps(own, option=orjson.OPT_SORT_KEYS).decode())
    return hashed(user_id.partition("_session_")[0])
