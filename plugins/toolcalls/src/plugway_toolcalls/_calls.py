"""Parse the text of a complete call to its name and arguments, and tolerate common mistakes.

`_spans` finds the end of a call; `_validate` checks arguments against a schema.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from plugway import as_list, as_object
from plugway_toolcalls._braces import read_braces
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._tags import Names, NotTags, read_body
from plugway_toolcalls._tools import Tool, plain_name

_NAME_KEYS: Final = ("name", "function", "tool", "tool_name", "function_name")
_ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "input", "kwargs")
_OUTSIDE_KEYS: Final = {*_NAME_KEYS, *_ARGUMENT_KEYS, "type", "id"}
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""Brackets, and strings up to their end or the end of the text."""
_LITERAL_LIMIT: Final = 100_000
_PYTHON_STRING: Final = re.compile(
    r"""#[^\n]*|('{3}|"{3}|'|")(?:(?!\1)[^\\]|\\.)*+(?:\1|\\?\Z)""", re.DOTALL
)
"""A comment, or a string of Python's grammar up to its end or the end of the text."""
_BETWEEN_STRINGS: Final = re.compile(r"[\s\\]*+[a-zA-Z]{0,2}")
"""White space, and the prefix of the second string: `r`, `b`, `u`, or two of them."""


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
    found = _read(spec, text, tools, name)
    if not found:
        raise MalformedCall("it contains no call")
    return [_finished(name, arguments, tools) for name, arguments in found]


def is_readable(spec: CallFormat, text: str) -> bool:
    """Whether `parse_calls` could parse `text` as a call of any tool."""
    try:
        return bool(_read(spec, text, {}, ""))
    except MalformedCall:
        return False


def _read(spec: CallFormat, text: str, tools: Tools, name: str) -> list[tuple[str, Any]]:
    try:
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
                return list(_from_python(text, spec.closing))
    except RecursionError:
        raise MalformedCall("it is nested too deeply") from None


def _finished(name: str, arguments: Any, tools: Tools) -> Call:
    name = name.strip()
    if name not in tools:
        name = plain_name(name)
    if name not in tools:
        raise MalformedCall(f"there is no tool `{name[:80]}`")
    if isinstance(arguments, str):
        arguments = _loads(arguments) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise MalformedCall("its arguments are not an object")
    try:
        return Call(name, json.dumps(arguments, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError):
        raise MalformedCall("its arguments contain a value that JSON does not support") from None


# JSON


def _value_text(text: str, spec: CallFormat) -> str:
    marks = "{" if spec.kind in {"arguments", "tags"} else "{["
    starts = [at for mark in marks if (at := text.find(mark)) >= 0]
    if not starts:
        return ""
    body = text[min(starts) :].rstrip()
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
    for candidate in (_balanced(text), _python_value(text)):
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


def _python_value(text: str) -> Any:
    """The value if it is in Python syntax, with single quotes and `True`."""
    if len(text) > _LITERAL_LIMIT or _joins_strings(text):
        return None
    try:
        value: Any = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, dict):
        return as_object(value)
    return as_list(value) if isinstance(value, list) else None


def _joins_strings(source: str) -> bool:
    """Whether two strings are adjacent, which Python joins: in a call, it is more likely that a
    comma is missing."""
    end = -1
    for match in _PYTHON_STRING.finditer(source):
        follows = end >= 0 and bool(_BETWEEN_STRINGS.fullmatch(source, end, match.start()))
        is_string = match[1] is not None
        if follows and is_string:
            return True
        if follows or is_string:
            end = match.end()
    return False


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
    match = re.fullmatch(spec.head, head)
    if match is None:
        raise MalformedCall("it has no name")
    arguments: Any = _loads(_value_text(text, spec)) if start >= 0 else None
    return name or match["name"], arguments


# Tags, braces, Python


def _from_tags(spec: CallFormat, text: str, tools: Tools) -> tuple[str, Any]:
    head = re.match(spec.head, text)
    if head is None:
        raise MalformedCall("it has no name")
    name, body = head["name"], text[head.end() :].rstrip()
    for closing in (spec.outer, spec.closing):
        body = body.removesuffix(closing).rstrip() if closing else body
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
        arguments = read_braces(body, spec.quote)
    except ValueError as error:
        raise MalformedCall(f"its arguments cannot be parsed: {error}") from None
    names = Names(tools[head["name"]].schema if head["name"] in tools else {})
    foreign = [name for name in as_object(arguments) if not names.allows(name)]
    if foreign:
        raise MalformedCall(f"there is no argument {foreign[0][:80]!r}")
    return head["name"], arguments


def _from_python(text: str, closing: str) -> Iterator[tuple[str, Any]]:
    source = text.strip().removesuffix(closing).strip()
    if len(source) > _LITERAL_LIMIT:
        raise MalformedCall("it is too long")
    if _joins_strings(source):
        raise MalformedCall("there is no comma between two strings")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError):
        raise MalformedCall("it is not a Python call") from None
    for statement in tree.body:
        if not isinstance(statement, ast.Expr):
            raise MalformedCall("it contains more than calls")
        value = statement.value
        for item in value.elts if isinstance(value, ast.List) else [value]:
            yield _python_call(item)


def _python_call(node: ast.expr) -> tuple[str, Any]:
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id != "print" or len(node.args) != 1:
            break
        node = node.args[0]
    if not isinstance(node, ast.Call) or node.args or any(k.arg is None for k in node.keywords):
        raise MalformedCall("it is not a call with named arguments")
    try:
        arguments = {str(k.arg): ast.literal_eval(_named(k.value)) for k in node.keywords}
    except ValueError:
        raise MalformedCall("an argument is not a plain value") from None
    return ast.unparse(node.func).removeprefix("default_api."), arguments


def _named(node: ast.expr) -> ast.expr:
    """Python's names for `true`, `false` and `null`: LFM2 writes either."""
    words = {"true": True, "false": False, "null": None}
    for inner in ast.walk(node):
        for field, value in ast.iter_fields(inner):
            if isinstance(value, list):
                items = cast("list[Any]", value)
                items[:] = [_constant(item, words) for item in items]
            else:
                setattr(inner, field, _constant(value, words))
    return cast("ast.expr", _constant(node, words))


def _constant(value: Any, words: dict[str, bool | None]) -> Any:
    known = isinstance(value, ast.Name) and value.id in words
    return ast.Constant(words[value.id]) if known else value
