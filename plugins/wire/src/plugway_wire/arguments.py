"""The JSON text of a tool call's arguments: finds the object in it, and repairs its escapes.

Arguments are JSON in JSON, so they may contain `\\ud83d`, half of a surrogate pair. Parsers may
reject that (RFC 8259, section 8.2), and some do.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

_MAX_WRAPPED: Final = 8
"""Most levels of JSON strings in JSON strings that are unwrapped."""

_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
_TOKEN: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|u[0-9a-fA-F]{0,3}\Z|.|\Z)",
    re.DOTALL,
)


def object_text(text: str) -> str | None:
    """The arguments of a call as the JSON text of an object; None if they are not an object.

    An empty text and `null` become an empty object; JSON in a JSON string is unwrapped.
    """
    for _ in range(_MAX_WRAPPED):
        text = text.strip()
        if not text or text == "null":
            return "{}"
        try:
            value: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(value, str):
            return text if isinstance(value, dict) else None
        text = value
    return None


def is_json(text: str) -> bool:
    """Whether `text` is valid JSON."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def whole_escapes(text: str) -> str:
    """JSON text with each escaped lone surrogate replaced by U+FFFD; its length is unchanged."""
    if "\\" not in text or _HALF.search(text) is None:
        return text
    return _TOKEN.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)
