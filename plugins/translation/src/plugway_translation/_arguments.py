"""Reads tool call arguments as models and servers write them."""

from __future__ import annotations

from typing import Any, cast

import orjson

from plugway_wire.arguments import object_text


def parse_arguments(text: str) -> dict[str, Any] | None:
    """The JSON object found by `object_text`; None if there is none."""
    found = object_text(text)
    return None if found is None else cast("dict[str, Any]", orjson.loads(found))


def arguments_of(value: Any) -> str:
    """Arguments as JSON text, whether the server sends text or an object."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
