"""Write a call in a family's format, for prompts of models whose template cannot.

See `_calls` for parsing one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from plugway import as_list, as_object
from plugway_toolcalls._call_reader import CallReader
from plugway_toolcalls._calls import MalformedCall
from plugway_toolcalls._families._base import CallFormat, Family, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL
from plugway_toolcalls._tools import Tool


def own_format(family: Family) -> CallFormat:
    """The format that this family is asked to use for calls."""
    return next((spec for spec in family.calls if spec.shape is not None), HERMES_CALL)


def write_call(
    family: Family,
    name: str,
    arguments: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
) -> str:
    """One call in the format of `family`, with its markers.

    In formats with unescaped values, some values look like part of the format, and some like a
    value of another type; the arguments are then JSON, which every reader accepts too. `schema` is
    the tool's.
    """
    spec = own_format(family)
    shape = spec.shape
    assert shape is not None
    as_json = json.dumps(arguments, ensure_ascii=False)
    if spec.kind not in {"tags", "braces"}:
        return _framed(spec, shape, name, as_json)
    if spec.kind == "tags":
        body = "".join(_tag(shape, key, value) for key, value in arguments.items())
    else:
        body = _braces(dict(arguments), shape.quote)
    text = _framed(spec, shape, name, body)
    # A grammar does not allow the end marker inside a value.
    free = not _holds(dict(arguments), shape.value_end.strip() or shape.quote)
    if free and _reads_back(spec, text, Tool(name, schema=schema or {}), as_json):
        return text
    return _framed(spec, shape, name, as_json)


def _framed(spec: CallFormat, shape: Shape, name: str, body: str) -> str:
    return f"{spec.opening}{shape.before}{name}{shape.between}{body}{shape.after}"


def _reads_back(spec: CallFormat, text: str, tool: Tool, arguments: str) -> bool:
    reader, body = CallReader([spec]), text.removeprefix(spec.opening)
    # Another call may follow: the result must not depend on being the last.
    for following in ("", text):
        if reader.find(body + following, final=True) != len(body + following):
            return False
        try:
            found = reader.calls(body + following, {tool.name: tool})
        except MalformedCall:
            return False
        if any(not _same(json.loads(call.arguments), json.loads(arguments)) for call in found):
            return False
        reader = CallReader([spec])
    return True


def _holds(value: Any, mark: str) -> bool:
    if isinstance(value, str):
        return mark in value
    if isinstance(value, dict):
        members = as_object(value)
        return _holds(list(members), mark) or _holds(list(members.values()), mark)
    return any(_holds(item, mark) for item in as_list(value))


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


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
