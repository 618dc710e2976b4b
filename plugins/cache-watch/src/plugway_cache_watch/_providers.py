"""What providers document about their prompt caches: lifetimes, minimums, and what they report."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple


class Rules(NamedTuple):
    """The prompt cache of one provider, for one model."""

    provider: str
    marked: bool = False
    """Only what ends at a mark (`cache_control`) is cached."""
    lifetime: float = 0.0
    """Seconds without use after which an entry may be gone; 0 if that is not documented. Where
    marks count, each mark has its own."""
    lifetime_text: str = ""
    minimum: int = 0
    """Tokens below which nothing is cached; 0 if unknown."""
    slack: int = 256
    """Tokens at the end of a cached prefix that a hit may lack, because of fixed steps."""
    reports: bool = False
    """The provider is known to report what it read."""
    otherwise: str = ""
    """What else it says about misses, for those without a visible cause."""


# https://platform.claude.com/docs/en/build-with-claude/prompt-caching, "Cache limitations"
_CLAUDE_MINIMUM: Final = (
    (re.compile(r"opus-?4[.-]?[56]|haiku-?4[.-]?5"), 4096),
    (re.compile(r"opus-?4[.-]?7|haiku-?3|3[.-]5-haiku|mythos-preview"), 2048),
    (re.compile(r"fable|mythos"), 512),
)
# https://ai.google.dev/gemini-api/docs/caching
_GEMINI_2048: Final = re.compile(r"gemini-2\.5")
# "Non-tool results passed to extended thinking requests" in the table of the page above
_KEEPS_THINKING: Final = re.compile(
    r"opus-?(4[.-]?[5-9]|[5-9])|sonnet-?(4[.-]?[6-9]|[5-9])|fable|mythos"
)


@lru_cache(maxsize=256)
def rules_of(zone: str, model: str) -> Rules:
    """The rules for a backend's zone and its model."""
    name = model.lower()
    if zone == "anthropic" or ("claude" in name and zone != "local"):
        minimum = next((n for known, n in _CLAUDE_MINIMUM if known.search(name)), 1024)
        return Rules("Anthropic", True, minimum=minimum, reports=zone == "anthropic")
    if zone == "local":
        return Rules(
            "this machine",
            otherwise="local engines drop a prompt when its slot or memory is needed for another",
        )
    if zone == "google" or "gemini" in name:
        return Rules(
            "Google",
            minimum=2048 if _GEMINI_2048.search(name) else 4096,
            slack=2048,
            reports=zone == "google",
            otherwise="Gemini caches implicitly, without a guarantee and a documented lifetime",
        )
    if "deepseek" in f"{zone} {name}":
        # https://api-docs.deepseek.com/guides/kv_cache
        return Rules(
            "DeepSeek",
            lifetime=3 * 3600.0,
            lifetime_text="hours to days",
            reports="deepseek" in zone,
            otherwise="DeepSeek needs seconds to store a prompt, and reads whole stored units only",
        )
    if "openai" in zone or name.startswith(("openai/", "gpt-", "o1", "o3", "o4")):
        # https://developers.openai.com/docs/guides/prompt-caching
        return Rules(
            "OpenAI",
            lifetime=300.0,
            lifetime_text="5 to 10 minutes, up to 24 hours with `prompt_cache_retention: 24h`",
            minimum=1024,
            reports="openai" in zone,
            otherwise="OpenAI sends more than about 15 requests a minute with one beginning and "
            "`prompt_cache_key` to other machines",
        )
    return Rules(f"`{zone}`")


def keeps_thinking(model: str) -> bool:
    """Whether a Claude model keeps the thinking of earlier turns in its prompt."""
    return bool(_KEEPS_THINKING.search(model.lower()))


def lifetime_in_words(seconds: float) -> str:
    """The lifetime of a mark."""
    return "1 hour" if seconds >= 3600 else f"{seconds / 60:g} minutes"


def ago(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
