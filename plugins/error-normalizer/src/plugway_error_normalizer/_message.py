"""Builds the message and the headers of an error reply. Pure functions.

`plugway-upstream-errors` interprets the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from plugway import BackendError, Headers
from plugway_upstream_errors import Meaning, quotable, window_sentence

_KEPT: Final = frozenset(("retry-after", "retry-after-ms", "x-should-retry"))
_KEPT_PREFIXES: Final = ("anthropic-", "x-ratelimit-")
_WHAT: Final = {
    "auth": "`{backend}` rejected its API key",
    "forbidden": "`{backend}` does not allow this",
    "quota": "the account behind `{backend}` is used up",
    "loading": "`{backend}` is loading the model `{model}`",
    "not_loaded": "`{backend}` has no model loaded",
    "model_not_found": "model: {asked}. `{backend}` does not have `{model}`",
    "route_not_found": "`{backend}` does not have the requested path",
}
"""What happened, for kinds whose upstream messages are unclear."""

_RECOGNISED: Final = ("prompt is too long:", "input length and `max_tokens` exceed")
"""Messages that clients already understand are not quoted again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the error happened."""

    backend: str
    model: str
    """The backend's name of the model."""
    asked: str
    """The model as requested by the client."""
    prompt: int = 0
    """Estimated tokens of the prompt; 0 if unknown."""
    window: int = 0
    """The model's learned context window; 0 if unknown."""
    close: tuple[str, ...] = ()
    """Models with similar names."""


def message_of(meaning: Meaning, place: Place, own: str, fallback: str, most: int) -> str:
    """The message: what the client recognizes first, then the upstream's text, then the fix.

    `own` is the message of the backend's plugin, which knows more than the table.
    """
    quoted = quotable(meaning.text, most)
    if meaning.kind == "overflow":
        return _overflow(meaning, place, quoted)
    if own:
        return f"`{place.backend}`: {quotable(own, most)}"
    names = {"backend": place.backend, "model": place.model, "asked": place.asked}
    what = _WHAT.get(meaning.kind, "").format_map(names)
    text = quoted or quotable(fallback, most)
    first = f"{what} (upstream: {text})" if what else f"`{place.backend}`: {text}"
    parts = [first]
    if place.close:
        parts.append("Similar names: " + ", ".join(f"`{name}`" for name in place.close))
    if meaning.remedy:
        limit = str(meaning.limit or "a smaller number")
        parts.append("Fix: " + meaning.remedy.format_map({**names, "limit": limit}))
    return ". ".join(part.rstrip(". ") for part in parts)


def _overflow(meaning: Meaning, place: Place, quoted: str) -> str:
    limit = meaning.limit or place.window
    prompt = meaning.prompt or place.prompt
    if not limit:
        limit = max(1, prompt - 1)
    sentence = window_sentence(prompt, meaning.answer, limit)
    if quoted.startswith(_RECOGNISED):
        quoted = ""
    return f"{sentence} (upstream `{place.backend}`: {quoted})" if quoted else sentence


def headers_of(failure: BackendError, meaning: Meaning) -> Headers:
    """The headers: waiting times, limits, and whether to retry."""
    kept = {
        name: value
        for name, value in failure.headers
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    wait = meaning.retry_after
    if wait is not None and meaning.status in {429, 503, 529} and not meaning.permanent:
        kept.setdefault("retry-after", str(max(1, math.ceil(wait))))
    if meaning.permanent:
        kept["x-should-retry"] = "false"
    return (("content-type", "application/json"), *kept.items())
