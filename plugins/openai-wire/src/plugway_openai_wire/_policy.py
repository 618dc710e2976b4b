"""What becomes of members of a Messages request on the way to either of OpenAI's APIs, declared."""

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
    fewer_images,
    hashed,
)

CACHE: Final = Rule("drop", "the API has no cache markers")
EXTRAS: Final = {"cache_control": CACHE.because, "citations": "the API does not accept them"}
"""Members of blocks that are not carried over, and why."""
ONE_PROVIDER: Final = Rule("drop", "only Anthropic supports it")

CACHE_KEY: Final = "a hash of this conversation, which finds its cached prefix"

MOST_NAME: Final = 64
"""Most characters of a tool's name (`function_definition.py` of the `openai` SDK)."""

OUTPUT: Final[Mapping[str, Rule]] = {
    "effort": Rule("translate"),
    "format": Rule("translate"),
    "task_budget": Rule("drop", "the API has no task budgets"),
}
"""Members of `output_config`."""

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
"""Members of tools."""


def ids_of(facts: Facts, most: int) -> IdCodec:
    """The codec for ids of tool calls that fits what is known of a model; `most` are the characters
    that the API takes."""
    limit = facts.tool_id_limit or most
    return IdCodec(limit, exact=facts.tool_id_pattern.endswith(f"{{{limit}}}"))


def turns_in(body: Mapping[str, Any], facts: Facts, media: MediaPolicy, notes: Notes) -> list[Any]:
    """The messages of a request, with as many images as the server takes. Raises `InvalidRequest`
    where the policy is to refuse others."""
    messages = as_list(body.get("messages"))
    if not facts.images_limit:
        return messages
    return list(fewer_images(messages, facts.images_limit, notes, media))


def user_hash(user_id: str) -> str:
    """What stands for the user of `metadata.user_id`, the same in all of the user's conversations.

    OpenAI takes 128 characters as `safety_identifier` and wants no name of a person in it
    (`types/responses/response_create_params.py` of the `openai` SDK). Claude Code writes user and
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
