"""The arguments of a tool call, as models write them."""

from __future__ import annotations

from typing import Any, cast

import orjson


def parse_arguments(text: str) -> dict[str, Any] | None:
    """The object that a call's arguments are; None where they are no object.

    Nothing at all is an empty object, and so is `null`; JSON inside a JSON string is unwrapped.
    """
    if not text.strip():
        return {}
    try:
        value: Any = orjson.loads(text)
        if isinstance(value, str):
            value = orjson.loads(value) if value.strip() else {}
    except orjson.JSONDecodeError:
        return None
    if value is None:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
