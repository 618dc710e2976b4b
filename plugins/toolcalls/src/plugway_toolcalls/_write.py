"""Writes a call as a family writes it: for prompts of models whose template cannot.

Reading one is `_calls`' business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from plugway import as_list, as_object
from plugway_toolcalls._families._base import CallFormat, Family, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL


def own_format(family: Family) -> CallFormat:
    """The format in which this family is asked to call."""
    return next((spec for spec in family.calls if spec.shape is not None), HERMES_CALL)


def write_call(family: Family, name: str, arguments: Mapping[str, Any]) -> str:
    """One call as `family` writes it, markers included."""
    spec = own_format(family)
    shape = spec.shape
    assert shape is not None
    if spec.kind == "tags":
        body = "".join(_tag(shape, key, value) for key, value in arguments.items())
    elif spec.kind == "braces":
        body = _braces(dict(arguments), shape.quote)
    else:
        body = json.dumps(arguments, ensure_ascii=False)
    return f"{spec.opening}{shape.before}{name}{shape.between}{body}{shape.after}"


def _tag(shape: Shape, key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    opening = shape.key if isinstance(value, str) else shape.typed or shape.key
    return opening.replace("{key}", key) + text + shape.value_end


def _braces(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, dict):
        pairs = [f"{k}:{_braces(v, quote)}" for k, v in sorted(as_object(value).items())]
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_braces(item, quote) for item in as_list(value)) + "]"
    return json.dumps(value)
