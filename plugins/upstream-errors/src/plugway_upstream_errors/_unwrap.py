"""Extracts texts, codes and numbers from an error body of any shape. Pure functions.

`_meaning` interprets them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson

from plugway import as_list

MAX_TEXT: Final = 8000
"""Maximum characters of a body that are read; no documented error is nearly as long."""
MAX_NESTED: Final = 3
"""Nesting of JSON texts within JSON texts, as intermediate gateways write them."""
_MAX_MEMBERS: Final = 300
_MAX_DEPTH: Final = 12

_WRITTEN: Final = re.compile(
    r"(Failed to parse input at pos \d{1,12}|error parsing tool call)\b.*", re.DOTALL
)
"""What the model wrote, inside errors of llama-server and Ollama. It may contain any words, also
those of another error."""
_TEXTS: Final = ("raw", "message", "error", "detail", "msg", "error_description", "response")
"""Fields that hold a text or lead to one, the most specific first."""
_CODES: Final = frozenset(("type", "code", "status", "reason", "error_code"))
_NUMBERS: Final = frozenset(("n_prompt_tokens", "n_ctx", "code"))
_DELAY: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


@dataclass(slots=True)
class Facts:
    """The extracted data."""

    texts: list[str] = field(default_factory=list[str])
    """The most specific first."""
    codes: list[str] = field(default_factory=list[str])
    places: list[str] = field(default_factory=list[str])
    """The invalid part of the request, with dots: OpenAI's `param`, pydantic's `loc`."""
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    retry_after: float | None = None
    """Seconds to wait according to the body (`RetryInfo` of Google's APIs)."""
    web_page: bool = False
    members: int = 0

    @property
    def text(self) -> str:
        """The text for people."""
        return self.texts[0] if self.texts else ""


def unwrap(body: bytes) -> Facts:
    """Extract from a body: JSON object or array, bare string, SSE, or plain text."""
    facts = Facts()
    text = body[: 4 * MAX_TEXT].decode("utf-8", "replace").strip()
    parsed = _parsed(body) if len(body) <= 2**20 else None
    if parsed is None:
        parsed = _in_events(text)
    if parsed is None:
        facts.web_page = text[:1] == "<"
        if text and not facts.web_page:
            _text(text, facts, 1, 0)
    else:
        _walk(parsed, facts, _MAX_DEPTH, MAX_NESTED)
    return facts


def unwrap_text(text: str) -> Facts:
    """Extract from a text that was already taken out of its body."""
    return unwrap(text[: 4 * MAX_TEXT].encode("utf-8", "replace"))


def _parsed(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def _in_events(text: str) -> Any:
    """The data of the first event with data, if the text is an event stream."""
    for line in text.splitlines():
        if line.startswith("data:"):
            parsed = _parsed(line[5:].strip())
            if parsed is not None:
                return parsed
    return None


def _walk(value: Any, facts: Facts, depth: int, nested: int) -> None:
    """Collect from `value`, which is any JSON value."""
    facts.members += 1
    if not depth or facts.members > _MAX_MEMBERS:
        return
    if isinstance(value, str):
        _text(value.strip(), facts, depth, nested)
    elif isinstance(value, list):
        for item in cast("list[Any]", value)[:20]:
            _walk(item, facts, depth - 1, nested)
    elif isinstance(value, dict):
        _object(cast("dict[str, Any]", value), facts, depth, nested)


def _text(text: str, facts: Facts, depth: int, nested: int) -> None:
    """Collect a text, or the JSON value that it contains."""
    if text[:1] in ("{", "[", '"') and nested:
        inner = _parsed(text)
        if inner is not None:
            _walk(inner, facts, depth - 1, nested - 1)
            return
    text = _WRITTEN.sub(r"\1", text, count=1)
    room = MAX_TEXT - sum(map(len, facts.texts))
    if text and room > 0:
        facts.texts.append(text[:room])


def _object(members: Mapping[str, Any], facts: Facts, depth: int, nested: int) -> None:
    _marks(members, facts)
    metadata = members.get("metadata")
    if isinstance(metadata, dict):
        _walk(metadata, facts, depth - 1, nested)
    for key in _TEXTS:
        if key in members:
            _walk(members[key], facts, depth - 1, nested)
    details = members.get("details")
    if isinstance(details, list | dict):
        before = len(facts.texts)
        _walk(details, facts, depth - 1, nested)
        facts.texts[before:] = []  # machine-readable; only codes and delays are used


def _marks(members: Mapping[str, Any], facts: Facts) -> None:
    """Collect an object's machine-readable fields."""
    for key in _CODES & members.keys():
        if isinstance(members[key], str):
            facts.codes.append(members[key][:200])
    for key in _NUMBERS & members.keys():
        if isinstance(members[key], int):
            facts.numbers.setdefault(key, members[key])
    place = members.get("param") or members.get("loc")
    if isinstance(place, str | list):
        facts.places.append(".".join(str(part) for part in as_list(place) or [place])[:200])
    delay = members.get("retryDelay")
    if isinstance(delay, str) and (match := _DELAY.fullmatch(delay.strip())):
        facts.retry_after = float(match[1])
