"""Checks whether text that arrived in pieces is complete JSON."""

from __future__ import annotations

import orjson


def is_json(text: str) -> bool:
    """Whether `text`, e.g. the arguments of a call, is valid JSON."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
