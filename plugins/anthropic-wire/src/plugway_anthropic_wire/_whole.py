"""Repairs a complete response of a Messages API server for strict readers. No I/O.

Other responses keep their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any

import orjson

from plugway import as_list, as_object
from plugway_translation import arguments_of, read_json
from plugway_wire.arguments import object_text, whole_escapes


def readable(body: bytes) -> bytes:
    """Replace unpaired surrogates, which are invalid for strict JSON parsers."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return orjson.dumps(read_json(body))
        except orjson.JSONDecodeError:
            return body  # the parser of the body reports the error
    return body


def with_inputs(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """Replace tool inputs that are JSON text or missing by objects; None if there are none.

    Inputs that cannot be converted stay unchanged.
    """
    content = as_list(message.get("content"))
    blocks = [_with_input(block) for block in content]
    if all(map(is_, blocks, content)):
        return None
    return {**message, "content": blocks}


def _with_input(block: Any) -> Any:
    fields = as_object(block)
    given: Any = fields.get("input")
    if fields.get("type") != "tool_use" or not isinstance(given, str | None):
        return block
    found = object_text(whole_escapes(arguments_of(given)))
    return block if found is None else {**fields, "input": orjson.loads(found)}
