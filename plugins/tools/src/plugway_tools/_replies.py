"""Requests and replies of a loop: what is sent, and how a reply ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final

from plugway import Attempt, BackendError, MessagesRequest, Relays, StreamEvent
from plugway_wire.protocols import implements

DRAIN_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 0.5
"""Before a request is sent once more, if the server names no time."""
GOES_ON: Final = frozenset(("tool_use", "end_turn", "stop_sequence", None))
"""Stop reasons of a complete reply; after others no call is run and the model is not asked."""
CUT: Final = frozenset(("max_tokens", "model_context_window_exceeded", "refusal"))
"""Stop reasons that stay when the runner's sentence ends a message."""
MAX_RETRY_SECONDS: Final = 15.0


def in_inner_form(request: MessagesRequest, attempt: Attempt) -> MessagesRequest:
    """The request without the client's own bytes if they would be relayed, past the loop."""
    backend = attempt.backend
    if request.original is None or not implements(backend, Relays):
        return request
    if not backend.relays(request, attempt):
        return request
    return MessagesRequest(request.raw, request.headers, query=request.query)


async def drained(source: AsyncIterator[StreamEvent]) -> None:
    """Read the end of a complete stream, if it is there, so that its connection is used again."""
    with suppress(TimeoutError, BackendError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in source:
                pass


def may_pass(error: BackendError) -> bool:
    """Whether the same request may succeed if it is sent once more."""
    return not error.permanent and (error.status >= 500 or error.status == 429)


def not_again(error: BackendError, *, changed: bool) -> None:
    """Let nobody repeat a request whose calls may have changed something."""
    if changed:
        error.try_next = False
        error.headers = (*error.headers, ("x-should-retry", "false"))


def tokens(usage: Mapping[str, Any], key: str) -> int:
    """A count of tokens; 0 if there is none."""
    count = usage.get(key)
    return count if isinstance(count, int) else 0
