"""Whether a prompt fits, and the space left for the reply. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from plugway import MessagesRequest
from plugway_context_guard._meter import MOST_BOUND, Count
from plugway_context_guard._windows import Window
from plugway_wire.reply_limit import reply_limit


@dataclass(frozen=True, slots=True)
class Room:
    """A prompt in a window."""

    count: Count
    plain: int
    """The estimate by public vocabularies alone, without corrections learned from this target."""
    window: Window
    limit: int
    """The most tokens that a prompt may have and still leave space for a reply."""

    @property
    def doubtful(self) -> bool:
        """Whether it is uncertain that the prompt fits."""
        return self.count.least <= self.limit < self.count.most

    @property
    def too_long(self) -> bool:
        """Whether the prompt is rejected without asking the server.

        A server that rejects long prompts itself decides: only a prompt that is too long even at
        the lower end of the estimate is not sent. Corrections learned from it count only as far
        as public vocabularies differ, so a server that counts double does not lock itself out.
        For one that silently truncates, the estimate decides.
        """
        if self.window.cuts or not self.count.bound:
            return self.count.tokens > self.limit
        return self.count.least > self.limit and self.plain * (1 + MOST_BOUND) > self.limit

    @property
    def refusable(self) -> bool:
        """Whether the server can reject the prompt itself, and the count is an estimate."""
        return bool(self.count.bound) and not self.window.cuts

    @property
    def answer(self) -> int:
        """Tokens for the reply: what is left at the upper end of the estimate, or half of what the
        estimate leaves; at least the space reserved for a reply, at most the model's output
        limit."""
        context = self.window.context
        left = max(context - self.count.most, (context - self.count.tokens) // 2)
        left = max(left, context - self.limit)
        return min(left, self.window.output) if self.window.output else left

    @property
    def reason(self) -> str:
        """Why the reply is limited to `answer` tokens."""
        window = self.window
        if window.output and self.answer == window.output:
            return f"the model's output limit is {window.output} tokens"
        return f"the prompt has {self.count}, the window {window.context} ({window.source})"


def limit_of(context: int, least_output: int) -> int:
    """The most tokens that a prompt may have in a window of `context` tokens."""
    return context - min(least_output, context // 8)


def shorter_answer(
    request: MessagesRequest, prompt: int, context: int, least_output: int
) -> MessagesRequest | None:
    """The request with a reply limit that fits, if a server that counted `prompt` tokens rejected
    it for its reply limit; None if that is not the reason."""
    asked, left = request.get("max_tokens"), context - prompt
    if not 0 < prompt <= limit_of(context, least_output):
        return None
    if not isinstance(asked, int) or asked <= left:
        return None
    return with_answer(
        request, left, f"its server counted {prompt} of {context} tokens for the prompt"
    )


def with_answer(request: MessagesRequest, tokens: int, because: str) -> MessagesRequest:
    """The request with `max_tokens` of at most that many, its thinking budget below."""
    return request.replace(because=because, **reply_limit(request.get("thinking"), tokens))
