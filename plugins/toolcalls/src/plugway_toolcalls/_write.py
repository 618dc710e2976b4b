"""Write a call in a family's format, for prompts of models whose template cannot.

See `_calls` for parsing one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._call_reader import CallReader
from plugway_toolcalls._calls import MalformedCall
from plugway_toolcalls._families._base import CallFormat, Family, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL
from plugway_toolcalls._members import kinds_of
from plugway_toolcalls._references import resolved
from plugway_toolcalls._tokens import CDATA, CDATA_END
from plugway_toolcalls._tools import Tool, json_type, kind_of

_NEEDS_CDATA = re.compile(r"[<&\n]|^\s|\s$")
MAX_LEVELS: Final = 60
"""Of more levels of lists and objects, arguments are written as JSON: the readers of the other
formats read 64."""


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

    Raises:
        ValueError: the arguments are nested too deeply for JSON, which no request is.
    """
    spec = own_format(family)
    shape = spec.shape
    assert shape is not None
    try:
        as_json = json.dumps(arguments, ensure_ascii=False)
    except RecursionError:
        raise ValueError("the arguments are nested too deeply") from None
    body = None if _is_deep(arguments) else _body(spec, arguments)
    known = schema or {}
    if body is None or (spec.nested and not _is_spelled_out(dict(arguments), known)):
        return _framed(spec, shape, name, as_json)
    text = _framed(spec, shape, name, body)
    # A grammar does not allow the end marker inside a value.
    end = shape.value_end.partition("{key}")[0].strip()
    free = spec.kind == "python" or not _holds(dict(arguments), end or shape.quote)
    if free and _reads_back(spec, text, Tool(name, schema=known), as_json):
        return text
    return _framed(spec, shape, name, as_json)


def _is_deep(arguments: Mapping[str, Any]) -> bool:
    level: list[Any] = [dict(arguments)]
    for _ in range(MAX_LEVELS):
        inner = [item for value in level for item in (as_object(value).values() or as_list(value))]
        level = [item for item in inner if isinstance(item, dict | list)]
    return bool(level)


def _body(spec: CallFormat, arguments: Mapping[str, Any]) -> str | None:
    """The arguments as the family writes them; None: as JSON."""
    assert spec.shape is not None
    match spec.kind:
        case "tags":
            return "".join(_tag(spec, key, value) for key, value in arguments.items())
        case "braces":
            return _braces(dict(arguments), spec.shape.quote)
        case "python":
            return ", ".join(f"{key}={_python(value)}" for key, value in arguments.items())
        case _:
            return None


def _is_spelled_out(arguments: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    """Whether the schema defines the content of each list and object in the arguments: only then
    can the tags of its members be distinguished from those around them."""
    known = as_object(resolved(schema, schema).get("properties"))
    return all(
        _is_known(item, as_object(known.get(name)), schema) for name, item in arguments.items()
    )


def _is_known(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict | list):
        return True
    found = resolved(schema, root)
    kinds = kinds_of(found, root) or ({"object"} if "properties" in found else set[str]())
    if isinstance(value, list):
        items = as_object(found.get("items"))
        return (
            kinds == {"array"}
            and bool(items)
            and all(_is_known(i, items, root) for i in as_list(value))
        )
    known = as_object(found.get("properties"))
    return kinds == {"object"} and all(
        _is_known(item, as_object(known.get(name)), root) for name, item in as_object(value).items()
    )


def _framed(spec: CallFormat, shape: Shape, name: str, body: str) -> str:
    return f"{spec.opening}{shape.before}{name}{shape.between}{body}{shape.after}"


def _reads_back(spec: CallFormat, text: str, tool: Tool, arguments: str) -> bool:
    reader, body = CallReader([spec]), text.removeprefix(spec.opening)
    # Another call may follow: the result must not depend on being the last.
    for following in ("", text)[: 1 if spec.kind == "python" else 2]:
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


def _tag(spec: CallFormat, key: str, value: Any) -> str:
    shape = spec.shape
    assert shape is not None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if spec.nested and isinstance(value, dict | list):
        members = as_object(value).items() or (("item", item) for item in as_list(value))
        text = "".join(_tag(spec, name, item) for name, item in members)
    elif spec.cdata and isinstance(value, str) and _NEEDS_CDATA.search(value):
        text = f"{CDATA}{value}{CDATA_END}"
    opening = shape.key if isinstance(value, str) else shape.typed or shape.key
    opening = opening.replace("{type}", json_type(kind_of(value)))
    return opening.replace("{key}", key) + text + shape.value_end.replace("{key}", key)


def _python(value: Any) -> str:
    if isinstance(value, dict):
        pairs = [
            f"{json.dumps(k, ensure_ascii=False)}: {_python(v)}"
            for k, v in as_object(value).items()
        ]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_python(item) for item in as_list(value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _braces(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, dict):
        pairs = [f"{k}:{_braces(v, quote)}" for k, v in sorted(as_object(value).items())]
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_braces(item, quote) for item in as_list(value)) + "]"
    return json.dumps(value)
