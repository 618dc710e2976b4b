"""Relaying a client's request to a server of the same API: what is sent, and whether it may be.

Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import (
    REMOVE,
    Attempt,
    BackendRefused,
    MessagesRequest,
    Original,
    as_list,
    as_object,
)
from plugway_capabilities import Facts

_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""Fields of OpenAI's requests that correspond to `max_tokens`."""
_BESIDE_TOOLS: Final[Mapping[str, tuple[object, ...]]] = {
    "tool_choice": ("auto", "none"),
    "parallel_tool_calls": (True, False),
}
"""Fields that mean nothing without tools, and that servers then reject."""


_BOUND: Final = re.compile(
    rb"was provided without its required"
    rb"|items? with id .{1,200} not found"
    rb"|encrypted[ _]content.{1,200}could not be (?:verified|decrypted|parsed)"
    rb"|invalid_encrypted_content",
    re.IGNORECASE | re.DOTALL,
)
"""What OpenAI says about items that are bound to other items, to a stored response, or to the
account that received them."""
_FREE: Final = frozenset(
    (
        *("message", "function_call", "function_call_output"),
        *("custom_tool_call", "custom_tool_call_output"),
    )
)
"""Types of items whose `id` is optional; with it they need the reasoning that they came with."""


def unbound(sent: MessagesRequest, refusal: BackendRefused) -> MessagesRequest | None:
    """The client's request without ids and reasoning, if the server rejects what they refer to.

    None if it does not, or if there are none.
    """
    if refusal.status not in (400, 404) or _BOUND.search(refusal.body) is None:
        return None
    items = as_list(sent.get("input"))
    kept = [_unbound(item) for item in items if not _is_reasoning(item)]
    if kept == items:
        return None
    because = "the server rejects the reasoning of earlier turns, and items that refer to it"
    return sent.replace(because=because, input=kept)


def _unbound(item: Any) -> Any:
    fields = as_object(item)
    if "id" not in fields or fields.get("type", "message") not in _FREE:
        return item
    return {name: value for name, value in fields.items() if name != "id"}


def _is_reasoning(item: Any) -> bool:
    return as_object(item).get("type") == "reasoning"


def refuses(facts: Facts, original: Original) -> bool:
    """Whether the server is known to reject a field of the request.

    Nested fields are not checked: a request rejected for one is translated and retried.
    """
    limit = facts.output_limit_field
    fields = {name for name in facts.rejected_fields if "." not in name}
    fields |= {name for name in _LIMITS if limit and name != limit}
    if any(original.get(name) is not None for name in fields):
        return True
    if facts.tools_limit and len(as_list(original.get("tools"))) > facts.tools_limit:
        return True
    values = ((original.get(name), known) for name, known in facts.allowed_values.items())
    return any(isinstance(value, str) and value not in known for value, known in values)


def adds_limit(original: Original, request: MessagesRequest) -> bool:
    """Whether a plugin limits the reply to a request for which the client gave no limit."""
    limited = any(change.field == "max_tokens" for change in request.changes)
    made_up = "max_tokens" in original.made_up
    return limited and not made_up and not any(original.get(name) for name in _LIMITS)


def client_request(
    original: Original, request: MessagesRequest, attempt: Attempt
) -> MessagesRequest:
    """The client's request with the target's model name, the output limit if it was changed, and
    no empty list of tools."""
    sent = original.own_request()
    if sent.get("tools") == []:
        gone = [name for name, values in _BESIDE_TOOLS.items() if sent.get(name) in values]
        sent = sent.without(["tools", *gone], because="servers reject an empty list of tools")
    if sent.model != attempt.model:
        sent = sent.replace(model=attempt.model, because="the model's name at the target")
    limited = any(change.field == "max_tokens" for change in request.changes)
    if limited and "max_tokens" not in original.made_up:
        limit = request.get("max_tokens", REMOVE)
        limits = {name: limit for name in _LIMITS if sent.get(name)}
        sent = sent.replace(because="changed by the gateway", **limits)
    return sent
