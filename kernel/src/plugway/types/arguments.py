"""The JSON text of a tool call's arguments: the object in it, and its escapes. Pure functions.

Arguments are JSON inside of JSON, so `\\ud83d` may stand in their own text: half a character. A
reader may refuse such text (RFC 8259, section 8.2), and some do.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

_MOST_WRAPPED: Final = 8
"""JSON strings inside JSON strings that are unwrapped."""

_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
_TOKEN: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|u[0-9a-fA-F]{0,3}\Z|.|\Z)",
    re.DOTALL,
)


def object_text(text: str) -> str | None:
    """The JSON text of the object that a call's arguments are; None where they are no object.

    Nothing at all is an empty object, and so is `null`; JSON inside a JSON string is unwrapped.
    """
    for _ in range(_MOST_WRAPPED):
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
    """Whether `text` is JSON as it stands."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def whole_escapes(text: str) -> str:
    """JSON text with U+FFFD for each escaped half of a character; as long as before."""
    if "\\u" not in text or _HALF.search(text) is None:
        return text
    return _TOKEN.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)
