"""What stands in an error's body, whatever its shape: texts, codes and numbers. Pure functions.

What they mean is the business of `_meaning`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson

from plugway import as_list

MAX_TEXT: Final = 8000
"""Characters of a body that are looked at, in all of its texts: no documented error comes near."""
MAX_NESTED: Final = 3
"""Texts inside texts that are JSON again, as gateways in between write them."""
_MAX_MEMBERS: Final = 300
_MAX_DEPTH: Final = 12

_TEXTS: Final = ("raw", "message", "error", "detail", "msg", "error_description", "response")
"""Members that carry a text or lead to one, the most telling first."""
_CODES: Final = frozenset(("type", "code", "status", "reason", "error_code"))
_NUMBERS: Final = frozenset(("n_prompt_tokens", "n_ctx", "code"))
_DELAY: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


@dataclass(slots=True)
class Facts:
    """What was found."""

    texts: list[str] = field(default_factory=list[str])
    """The most telling first."""
    codes: list[str] = field(default_factory=list[str])
    places: list[str] = field(default_factory=list[str])
    """Where in the request the fault is, with dots: `param` of OpenAI, `loc` of pydantic."""
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    retry_after: float | None = None
    """Seconds to wait, where the body says so (`RetryInfo` of Google's APIs)."""
    web_page: bool = False
    members: int = 0

    @property
    def text(self) -> str:
        """The text for people."""
        return self.texts[0] if self.texts else ""


def unwrap(body: bytes) -> Facts:
    """The facts of a body: JSON object or array, bare string, SSE, or plain text."""
    facts = Facts()
    text = body[: 4 * MAX_TEXT].decode("utf-8", "replace").strip()
    parsed = _parsed(body) if len(body) <= 2**20 else None
    if parsed is None:
        parsed = _in_events(text)
    if parsed is None:
        facts.web_page = text[:1] == "<"
        if text and not facts.web_page:
            facts.texts.append(text[:MAX_TEXT])
    else:
        _walk(parsed, facts, _MAX_DEPTH, MAX_NESTED)
    return facts


def unwrap_text(text: str) -> Facts:
    """The same for a text that was taken out of its body already."""
    return unwrap(text[: 4 * MAX_TEXT].encode("utf-8", "replace"))


def _parsed(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def _in_events(text: str) -> Any:
    """The data of the first event that has some, in the framing of event streams."""
    for line in text.splitlines():
        if line.startswith("data:"):
            parsed = _parsed(line[5:].strip())
            if parsed is not None:
                return parsed
    return None


def _walk(value: Any, facts: Facts, depth: int, nested: int) -> None:
    """Gather from `value`, which is anything that JSON has."""
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
    """A text, or the JSON that it is."""
    if text[:1] in ("{", "[", '"') and nested:
        inner = _parsed(text)
        if inner is not None:
            _walk(inner, facts, depth - 1, nested - 1)
            return
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
        facts.texts[before:] = []  # texts for machines; the codes and delays are what is wanted


def _marks(members: Mapping[str, Any], facts: Facts) -> None:
    """What an object says to machines."""
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
