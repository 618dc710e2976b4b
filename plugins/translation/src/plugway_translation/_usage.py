"""Converts token counts between APIs. Pure functions.

The Messages API counts a prompt in three parts that add up; OpenAI and Gemini report the sum and
how much of it was cached (`types/usage.py` of the `anthropic` SDK, `completion_usage.py` of the
`openai` SDK).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Totals(NamedTuple):
    """Token counts of APIs that count a prompt as one sum."""

    prompt: int = 0
    """All tokens of the prompt, including cached ones."""
    completion: int = 0
    """All tokens of the reply, including reasoning."""
    cached: int = 0
    """Prompt tokens read from a cache."""
    written: int = 0
    """Prompt tokens written to a cache."""
    reasoning: int = 0


def count(value: Any) -> int:
    """`value` if it is a valid token count, else 0: servers send null, text and negatives."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 < value < 2**53 else 0


def usage_of(totals: Totals) -> dict[str, int]:
    """`usage` of the Messages API; the parts of the prompt add up to `totals.prompt`."""
    cached = min(totals.cached, totals.prompt)
    written = min(totals.written, totals.prompt - cached)
    return {
        "input_tokens": totals.prompt - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": totals.completion,
    }


def detailed_usage(totals: Totals) -> dict[str, Any]:
    """`usage` of the Messages API, with thinking tokens if known."""
    usage: dict[str, Any] = dict(usage_of(totals))
    if totals.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": totals.reasoning}
    return usage


def totals_of(usage: Mapping[str, Any]) -> Totals:
    """The sums of a `usage` of the Messages API."""
    cached = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    prompt = count(usage.get("input_tokens")) + cached + written
    return Totals(prompt, count(usage.get("output_tokens")), cached, written)
