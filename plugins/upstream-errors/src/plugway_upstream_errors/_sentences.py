"""The sentences that Claude Code understands, and quoting of upstream texts. Pure functions."""

from __future__ import annotations

import re
from typing import Final

TOO_LONG: Final = "capability_rejected: prompt_too_long"
"""The token that newer clients look for anywhere in the message."""
LEAST_ROOM: Final = 4000
"""Minimum tokens between prompt and window for requesting a shorter reply: the client leaves 1,000
free and gives up below 3,000."""
MAX_QUOTED: Final = 2000

_SECRETS: Final = re.compile(
    r"(?P<kept>bearer\s+|(?:api[-_ ]?key|token|secret|password|key)[\"']?\s*[=:]\s*[\"']?)"
    r"(?!(?:string|number|integer|object|boolean|expected|extra inputs|invalid)\b)"
    r"[^\s\"',;&]{6,}"
    r"|\b(?:sk|pk|rk|gsk|hf|xai|ghp|gho|ghs|github_pat|glpat|nvapi|r8|AIza)[-_A-Za-z0-9*]{8,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]{4,}",
    re.IGNORECASE,
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")


def overflow_sentence(prompt: int, limit: int) -> str:
    """`prompt is too long`, always with a prompt larger than the limit."""
    limit = max(1, limit)
    return f"prompt is too long: {max(prompt, limit + 1)} tokens > {limit} maximum. {TOO_LONG}"


def max_tokens_sentence(prompt: int, answer: int, limit: int) -> str:
    """The sentence for prompt plus output; the client retries with a shorter output."""
    return (
        f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {limit}, "
        "decrease input length or `max_tokens` and try again"
    )


def window_sentence(prompt: int, answer: int, limit: int) -> str:
    """The sentence for `prompt` and `answer` tokens in a window of `limit`.

    Requests a shorter reply only if enough room remains for one.
    """
    fits = 0 < prompt <= limit - LEAST_ROOM and answer and prompt + answer > limit
    if fits:
        return max_tokens_sentence(prompt, answer, limit)
    return overflow_sentence(prompt if prompt > limit else prompt + answer, limit)


def quotable(text: str, most: int = MAX_QUOTED) -> str:
    """Remove secrets and control characters from an upstream's text, and truncate it."""
    text = _CONTROL.sub(" ", text[: 4 * most]).strip()
    text = _SECRETS.sub(lambda match: f"{match['kept'] or ''}[redacted]", text)
    return text if len(text) <= most else f"{text[:most].rstrip()} [...]"
