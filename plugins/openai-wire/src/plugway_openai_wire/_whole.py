"""Whether text that came in pieces is whole."""

from __future__ import annotations

import orjson


def is_json(text: str) -> bool:
    """Whether `text`, such as the arguments of a call, is JSON as it stands."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
