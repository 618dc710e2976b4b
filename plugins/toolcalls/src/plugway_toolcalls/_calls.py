"""Parse the text of a complete call to its name and arguments, and tolerate common mistakes.

`_spans` finds the end of a call; `_validate` checks arguments against a schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._braces import read_braces
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._python import NotPython, python_value, read_python
from plugway_toolcalls._spans import before_list
from plugway_toolcalls._tags import Names, NotTags, read_body
from plugway_toolcalls._tokens import inner_calls
from plugway_toolcalls._tools import Tool, dumps, known_name, plain_name

_NAME_KEYS: Final = ("name", "function", "tool", "tool_name", "function_name")
_ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "input", "kwargs")
_OUTSIDE_KEYS: Final = {*_NAME_KEYS, *_ARGUMENT_KEYS, "type", "id"}
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""Brackets, and strings up to their end or the end of the text."""


@dataclass(frozen=True, slots=True)
class Call:
    """A complete call. `arguments` is JSON text of an object."""

    name: str
    arguments: str


class MalformedCall(ValueError):
    """The text is not a call of one of the request's tools; the message has the reason."""


Tools = Mapping[str, Tool]


def parse_calls(spec: CallFormat, text: str, tools: Tools, name: str = "") -> list[Call]:
    """The calls in `text`, the part between the opening marker and the end of the calls.

    `name` is the tool's name if it preceded the end of the opening marker.

    Raises:
        MalformedCall: it cannot be parsed, or names no tool of the request.
    """
    try:
        found = _read(spec, text, tools, name)
        if not found:
            raise MalformedCall("it contains no call")
        return [_finished(name, arguments, tools) for name, arguments in found]
    except RecursionError:
        raise MalformedCall("it is nested too deeply") from None


def is_readable(spec: CallFormat, text: str) -> bool:
    """Whether `parse_calls` could parse `text` as a call of any tool."""
    try:
        return bool(_read(spec, text, {}, ""))
    except (MalformedCall, RecursionError):
        return False


def _read(spec: CallFormat, text: str, tools: Tools, name: str) -> list[tuple[str, Any]]:
    match spec.kind:
        case "object":
            values = _values(_value_text(text, spec))
            return [call for value in values for call in _from_object(value, tools)]
        case "arguments":
            return [_from_head(spec, text, name)]
        case "tags":
            return [_from_tags(spec, text, tools)]
        case "braces":
            return [_from_braces(spec, text, tools)]
        case "python":
            return _from_python(spec, text)


def _finished(name: str, arguments: Any, tools: Tools) -> Call:
    known = known_name(name.strip(), tools)
    if known is None:
        raise MalformedCall(f"there is no tool `{plain_name(name)[:80]}`")
    if isinstance(arguments, str):
        arguments = _loads(arguments) if arguments.strip() else {}
    if isinstance(arguments, list) and len(as_list(arguments)) == 1:
        arguments = arguments[0]
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise MalformedCall("its arguments are not an object")
    try:
        return Call(known, dumps(arguments))
    except (TypeError, ValueError):
        raise MalformedCall("its arguments contain a value that JSON does not support") from None


# JSON


def _value_text(text: str, spec: CallFormat) -> str:
    marks = "{" if spec.kind in {"arguments", "tags"} else "{["
    starts = [at for mark in marks if (at := text.find(mark)) >= 0]
    if not starts:
        return ""
    body = text[min(starts) :].rstrip()
    if spec.opening.endswith("["):
        body = "[" + body
    if spec.closing:
        body = body.removesuffix(spec.closing).rstrip()
    return body.removesuffix("```").rstrip().rstrip(";")


def _values(text: str) -> list[Any]:
    """One value, or several objects in a row."""
    decoder = json.JSONDecoder(strict=False)
    found: list[Any] = []
    at = 0
    while not found or text.startswith("{", at):
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            return [*found, _loads(text[at:])]
        found.append(value)
        while at < len(text) and text[at] in " \n\r\t,;":
            at += 1
    return found


def _loads(text: str) -> Any:
    """The value of JSON, or of text that is almost JSON."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text.lstrip())[0]
    except ValueError as error:
        reason = str(error)
    for candidate in (_balanced(text), python_value(text)):
        if candidate is not None:
            return candidate
    raise MalformedCall(f"it is not valid JSON: {reason}")


def _balanced(text: str) -> Any:
    """The value if only closing braces at its end are missing."""
    stack: list[str] = []
    for match in _STRUCTURE.finditer(text):
        if match[0] in "{[":
            stack.append("}" if match[0] == "{" else "]")
        elif match[0] in "}]" and stack:
            stack.pop()
    if not stack:
        return None
    try:
        return json.loads(text + "".join(reversed(stack)), strict=False)
    except ValueError:
        return None


def _from_object(value: Any, tools: Tools) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for item in as_list(value):
            yield from _from_object(item, tools)
        return
    data = as_object(value)
    if "tool_calls" in data and "name" not in data:
        yield from _from_object(data["tool_calls"], tools)
        return
    inner = data.get("function")
    if isinstance(inner, dict):
        beside = {key: data[key] for key in _ARGUMENT_KEYS if key in data}
        has_own = any(key in inner for key in _ARGUMENT_KEYS)
        yield from _from_object(inner if has_own else {**as_object(inner), **beside}, tools)
        return
    name = next((data[key] for key in _NAME_KEYS if isinstance(data.get(key), str)), None)
    if name is None and len(data) == 1:  # the name as the only member, as Apertus writes it
        yield from ((key, item) for key, item in data.items() if isinstance(item, dict))
        return
    if name is None:
        raise MalformedCall("it has no `name`")
    yield name, _arguments_of(data, tools.get(name))


def _arguments_of(data: dict[str, Any], tool: Tool | None) -> Any:
    for key in _ARGUMENT_KEYS:
        if key in data:
            return data[key]
    known = as_object(tool.schema.get("properties")) if tool else {}
    rest = {key: value for key, value in data.items() if key not in _OUTSIDE_KEYS or key in known}
    rest.pop("name", None)
    return rest


def _from_head(spec: CallFormat, text: str, name: str) -> tuple[str, Any]:
    start = text.find("{")
    head = text[:start] if start >= 0 else text.removesuffix(spec.closing)
    match = re.fullmatch(spec.head, head) or re.fullmatch(spec.head, before_list(head))
    if match is None:
        raise MalformedCall("it has no name")
    value = _value_text(text, spec) if start >= 0 else ""
    if match.end() < len(head):
        value = f"[{value}"
    return name or match["name"], _loads(value) if start >= 0 else None


# Tags, braces, Python


def _from_tags(spec: CallFormat, text: str, tools: Tools) -> tuple[str, Any]:
    head = re.match(spec.head, text)
    if head is None:
        raise MalformedCall("it has no name")
    name, body = head["name"], text[head.end() :].rstrip()
    for closing in (*spec.outers, spec.closing):
        body = body.removesuffix(closing).rstrip()
    if body.lstrip().startswith("{"):
        return name, _loads(body)
    try:
        return name, read_body(spec, body, tools.get(name))
    except NotTags as error:
        raise MalformedCall(str(error)) from None


def _from_braces(spec: CallFormat, text: str, tools: Tools) -> tuple[str, Any]:
    head = re.match(spec.head, text)
    if head is None:
        raise MalformedCall("it has no name")
    body = text[head.end() :].rstrip().removesuffix(spec.closing).rstrip()
    try:
        arguments = read_braces(body, spec.quote, inner_calls(spec, body))
    except ValueError as error:
        raise MalformedCall(f"its arguments cannot be parsed: {error}") from None
    names = Names(tools[head["name"]].schema if head["name"] in tools else {})
    foreign = [name for name in as_object(arguments) if not names.allows(name)]
    if foreign:
        raise MalformedCall(f"there is no argument {foreign[0][:80]!r}")
    return head["name"], arguments


def _from_python(spec: CallFormat, text: str) -> list[tuple[str, Any]]:
    source = text.rstrip().removesuffix(spec.closing)
    try:
        return list(read_python(source))
    except NotPython as error:
        raise MalformedCall(f"it is not a Python call: {error}") from None
