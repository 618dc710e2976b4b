"""Addresses of well-known key names, and how to test whether a server accepts a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from plugway import BackendError, Upstream, as_list, as_object

_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """A provider's address, its list of models, and the header that carries a key there."""

    origin: str
    path: str = "/v1/models"
    header: str = "authorization"
    """`authorization` carries the key as `Bearer`."""


_GOOGLE = "https://generativelanguage.googleapis.com"

KNOWN: Mapping[str, Place] = {
    "anthropic": Place("https://api.anthropic.com", header="x-api-key"),
    "openai": Place("https://api.openai.com"),
    "openrouter": Place("https://openrouter.ai", "/api/v1/key"),
    "gemini": Place(
        "https://generativelanguage.googleapis.com", "/v1beta/models", "x-goog-api-key"
    ),
    "deepseek": Place("https://api.deepseek.com"),
    "mistral": Place("https://api.mistral.ai"),
    "groq": Place("https://api.groq.com", "/openai/v1/models"),
    "xai": Place("https://api.x.ai"),
}
"""By key name. OpenRouter's model list is public, so its page about the key is used instead."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A server's response to a key."""

    ok: bool
    reason: str
    fix: str = ""
    status: int = 0
    models: int = 0


async def try_key(origin: str, value: str) -> Verdict:
    """Ask the server at `origin` for its models with the key: one request, or two where it is
    not known which header carries a key there."""
    verdict = Verdict(False, "was not tried")
    for place in _places(origin):
        verdict = await _ask(place, value)
        if verdict.status not in (401, 403):
            break
    return verdict


def _places(origin: str) -> Sequence[Place]:
    known = [place for place in KNOWN.values() if place.origin == origin]
    return known or [Place(origin), Place(origin, header="x-api-key")]


async def _ask(place: Place, value: str) -> Verdict:
    line = f"Bearer {value}" if place.header == "authorization" else value
    lines = (("accept", "application/json"), ("anthropic-version", "2023-06-01"))
    async with Upstream(place.origin, credentials={place.header: line}) as upstream:
        try:
            answer = await upstream.request("GET", place.path, headers=lines, seconds=_SECONDS)
            body = await answer.read()
        except BackendError as error:
            return Verdict(False, error.message, "check the address and whether it is reachable")
    try:
        document = as_object(orjson.loads(body))
    except orjson.JSONDecodeError:
        document = {}
    return _judged(answer.status, document)


def _judged(status: int, document: dict[str, object]) -> Verdict:
    words = str(as_object(document.get("error")).get("message", ""))[:200]
    if status == 200:
        models = len(as_list(document.get("data")) or as_list(document.get("models")))
        return Verdict(True, "accepts the key", status=status, models=models)
    if status in (401, 403):
        fix = "store a key that is valid there with `plugway keys set`"
        return Verdict(False, f"rejects the key: {words or f'status {status}'}", fix, status)
    reason = f"responded with status {status}{f': {words}' if words else ''}"
    if status == 404:
        return Verdict(False, reason, "this address serves no list of models: check it", status)
    return Verdict(False, reason, "try again later", status)
