"""Whether a prompt fits, and what is left for the answer. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from plugway import MessagesRequest, as_object
from plugway_context_guard._meter import MOST_BOUND, Count
from plugway_context_guard._windows import Window

LEAST_THINKING: Final = 1024
"""The smallest budget that the API takes."""


@dataclass(frozen=True, slots=True)
class Room:
    """A prompt in a window."""

    count: Count
    plain: int
    """The estimate by public vocabularies alone, whatever this target has taught since."""
    window: Window
    limit: int
    """The most tokens that a prompt may have, so that there is an answer."""

    @property
    def doubtful(self) -> bool:
        """It may fit or not."""
        return self.count.least <= self.limit < self.count.most

    @property
    def too_long(self) -> bool:
        """The prompt is refused without asking the server.

        A server that refuses by itself has the last word: only what is too long even if the
        estimate is off by all of its stated error is kept from it. One that cuts prompts in
        silence has no word, so there the estimate decides. What a target has taught is believed as
        far as public vocabularies differ: a server that counts double must not shut itself off.
        """
        if not self.count.bound:
            return self.count.tokens > self.limit
        decides = self.count.tokens if self.window.cuts else self.count.least
        return decides > self.limit and self.plain * (1 + MOST_BOUND) > self.limit

    @property
    def refusable(self) -> bool:
        """The server can refuse the prompt itself, and the count is an estimate."""
        return bool(self.count.bound) and not self.window.cuts

    @property
    def answer(self) -> int:
        """Tokens for the answer: what is left if the prompt is as long as it can be, or half of
        what the estimate leaves; never less than what is kept for an answer, nor more than the
        model writes."""
        context = self.window.context
        left = max(context - self.count.most, (context - self.count.tokens) // 2)
        left = max(left, context - self.limit)
        return min(left, self.window.output) if self.window.output else left

    @property
    def reason(self) -> str:
        """Why an answer is not longer than `answer`."""
        window = self.window
        if window.output and self.answer == window.output:
            return f"the model writes {window.output} tokens at most"
        return f"the prompt has {self.count}, the window {window.context} ({window.source})"


def limit_of(context: int, least_output: int) -> int:
    """The most tokens that a prompt may have in a window of `context` tokens."""
    return context - min(least_output, context // 8)


def shorter_answer(
    request: MessagesRequest, prompt: int, context: int, least_output: int
) -> MessagesRequest | None:
    """The request for an answer that fits, where a server that counted `prompt` tokens refused it
    for its answer; None where that is not the reason."""
    asked, left = request.get("max_tokens"), context - prompt
    if not 0 < prompt <= limit_of(context, least_output):
        return None
    if not isinstance(asked, int) or asked <= left:
        return None
    return with_answer(request, left, f"its server counted {prompt} tokens, of {context} in all")


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
