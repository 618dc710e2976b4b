"""The arguments of a tool call, as models and servers write them."""

from __future__ import annotations

from typing import Any, Final, cast

import orjson

_MOST_WRAPPED: Final = 8
"""JSON strings inside JSON strings that are unwrapped."""


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


def parse_arguments(text: str) -> dict[str, Any] | None:
    """The object whose text `object_text` finds."""
    found = object_text(text)
    return None if found is None else cast("dict[str, Any]", orjson.loads(found))


def arguments_of(value: Any) -> str:
    """The JSON text of arguments that a server gives as text, as it should, or as an object."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
