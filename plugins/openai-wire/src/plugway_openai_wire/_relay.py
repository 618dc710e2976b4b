"""A client's own request, where the server speaks its API: what is sent of it, and whether it may.

Pure functions.
"""

from __future__ import annotations

from typing import Final

from plugway import REMOVE, Attempt, MessagesRequest, Original, as_list
from plugway_capabilities import Facts

_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""Fields of OpenAI's requests that are the Messages API's `max_tokens`."""


def refuses(facts: Facts, original: Original) -> bool:
    """Whether something that a client wrote is known to be refused; parts of fields are not looked
    at: those are refused once more, and then translated."""
    limit = facts.output_limit_field
    fields = {name for name in facts.rejected_fields if "." not in name}
    fields |= {name for name in _LIMITS if limit and name != limit}
    if any(original.get(name) is not None for name in fields):
        return True
    if facts.tools_limit and len(as_list(original.get("tools"))) > facts.tools_limit:
        return True
    values = ((original.get(name), known) for name, known in facts.allowed_values.items())
    return any(isinstance(value, str) and value not in known for value, known in values)


def can_be_told(original: Original, facts: Facts) -> bool:
    """Whether the Messages API can say all that a client wrote, but for what the server refuses."""
    notes = (note.partition(": ")[0].partition(" ") for note in original.notes)
    return all(
        action in ("emulate", "translate") or (action == "drop" and name in facts.rejected_fields)
        for action, _, name in notes
    )


def own_request(original: Original, request: MessagesRequest, attempt: Attempt) -> MessagesRequest:
    """The client's own request, with the model's name as the server has it, and the limit of the
    answer where it was changed and is the client's own."""
    sent = original.own_request()
    if sent.model != attempt.model:
        sent = sent.replace(model=attempt.model, because="its name there")
    limited = any(change.field == "max_tokens" for change in request.changes)
    if limited and "max_tokens" not in original.made_up:
        limit = request.get("max_tokens", REMOVE)
        limits = {name: limit for name in _LIMITS if sent.get(name)}
        sent = sent.replace(because="changed on the way", **limits)
    return sent
