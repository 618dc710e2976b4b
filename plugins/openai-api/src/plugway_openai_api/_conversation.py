"""Which conversation a request of a client of OpenAI's APIs belongs to, as the client says it."""

from __future__ import annotations

from typing import Final

from plugway import Identity, MessagesRequest

HEADERS: Final = (
    "session_id",
    "conversation_id",
    "x-session-affinity",
    "x-opencode-session",
)
"""Codex names its conversation in the first two (`codex-rs/core/src/client.rs` of openai/codex);
newer ones write `session-id`, which the kernel knows. opencode names its session in the others
(`packages/opencode/src/session/llm/request.ts` of anomalyco/opencode)."""
FIELD: Final = "prompt_cache_key"
"""What requests with a common beginning have in common (OpenAI's API reference, "Create a model
response"): Codex, opencode and others put the id of the conversation there."""
MAX_ID: Final = 200


def conversation_of(request: MessagesRequest) -> Identity | None:
    """The conversation that a client names, by a header line before a field of the body."""
    found: object = next((request.named[n] for n in HEADERS if n in request.named), None)
    if found is None and request.original is not None and request.original.body:
        found = request.original.get(FIELD)
    if isinstance(found, str) and 0 < len(found) <= MAX_ID and found.isprintable():
        return Identity(found)
    return None
