"""From a meaning to the words and headers of the answer. Pure functions.

What an error means is the business of `plugway-upstream-errors`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from plugway import BackendError, Headers
from plugway_upstream_errors import Meaning, fit_to_tell, window_sentence

_KEPT: Final = frozenset(("retry-after", "retry-after-ms", "x-should-retry"))
_KEPT_PREFIXES: Final = ("anthropic-", "x-ratelimit-")
_WHAT: Final = {
    "auth": "`{backend}` does not accept the key that it was given",
    "forbidden": "`{backend}` does not allow this",
    "quota": "the account behind `{backend}` is used up",
    "loading": "`{backend}` is loading the model `{model}`",
    "not_loaded": "`{backend}` has no model loaded",
    "model_not_found": "model: {asked}. `{backend}` does not have `{model}`",
    "route_not_found": "`{backend}` does not know the address that was asked",
}
"""What happened, for the kinds whose upstream texts leave it open."""

_RECOGNISED: Final = ("prompt is too long:", "input length and `max_tokens` exceed")
"""An upstream that speaks so already has nothing to add."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it happened."""

    backend: str
    model: str
    """The backend's own name of the model."""
    asked: str
    """The model as the client asked for it."""
    prompt: int = 0
    """Tokens of the prompt as estimated; 0 where it is not known."""
    window: int = 0
    """Window of the model as learned; 0 where it is not known."""
    close: tuple[str, ...] = ()
    """Models with names like the one that was asked for."""


def message_of(meaning: Meaning, place: Place, own: str, fallback: str, most: int) -> str:
    """The text: what the client recognises first, then the upstream's words, then the remedy.

    `own` is what the backend's plugin itself has to say; it knows more than the table.
    """
    told = fit_to_tell(meaning.text, most)
    if meaning.kind == "overflow":
        return _overflow(meaning, place, told)
    if own:
        return f"`{place.backend}`: {fit_to_tell(own, most)}"
    names = {"backend": place.backend, "model": place.model, "asked": place.asked}
    what = _WHAT.get(meaning.kind, "").format_map(names)
    text = told or fit_to_tell(fallback, most)
    first = f"{what} (upstream: {text})" if what else f"`{place.backend}`: {text}"
    parts = [first]
    if place.close:
        parts.append("Close to it: " + ", ".join(f"`{name}`" for name in place.close))
    if meaning.remedy:
        limit = str(meaning.limit or "a smaller number")
        parts.append("What helps: " + meaning.remedy.format_map({**names, "limit": limit}))
    return ". ".join(part.rstrip(". ") for part in parts)


def _overflow(meaning: Meaning, place: Place, told: str) -> str:
    limit = meaning.limit or place.window
    prompt = meaning.prompt or place.prompt
    if not limit:
        limit = max(1, prompt - 1)
    sentence = window_sentence(prompt, meaning.answer, limit)
    if told.startswith(_RECOGNISED):
        told = ""
    return f"{sentence} (upstream `{place.backend}`: {told})" if told else sentence


def headers_of(failure: BackendError, meaning: Meaning) -> Headers:
    """The header lines: waiting times, limits, and whether to ask again."""
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
