"""Whether a prompt fits, and what is left for the answer. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from plugway import MessagesRequest, as_object
from plugway_context_guard._meter import Count
from plugway_context_guard._windows import Window

LEAST_THINKING: Final = 1024
"""The smallest budget that the API takes."""


@dataclass(frozen=True, slots=True)
class Room:
    """A prompt in a window."""

    count: Count
    limit: int
    """The most tokens that a prompt may have, so that there is an answer."""
    answer: int
    """Tokens that are left for the answer, at least."""

    @property
    def fits(self) -> bool:
        """The prompt fits, also if it is as long as it can be."""
        return self.count.most <= self.limit

    @property
    def doubtful(self) -> bool:
        """It may fit or not."""
        return self.count.least <= self.limit < self.count.most


def room_in(window: Window, count: Count, least_output: int) -> Room:
    """What a prompt of `count` leaves of `window`."""
    limit = window.context - min(least_output, window.context // 8)
    left = window.context - count.most
    return Room(count, limit, min(left, window.output) if window.output else left)


def with_answer(request: MessagesRequest, tokens: int, because: str) -> MessagesRequest:
    """The request with `max_tokens` of at most that many, its thinking budget below."""
    fields: dict[str, Any] = {"max_tokens": tokens}
    thinking = as_object(request.body.get("thinking"))
    budget = thinking.get("budget_tokens")
    if isinstance(budget, int) and budget >= tokens:
        less = tokens // 2
        enough = less >= LEAST_THINKING
        fields["thinking"] = {**thinking, "budget_tokens": less} if enough else {"type": "disabled"}
    return request.replace(because=because, **fields)
